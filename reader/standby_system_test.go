//go:build system

package reader_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fusetest"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestHangingVerificationDoesNotDelayPin hangs the disk while the newest generation
// is verified in the background. The pin moves among the others meanwhile. After
// the disk has healed, the newest is verified.
func TestHangingVerificationDoesNotDelayPin(t *testing.T) {
	m := fusetest.New(t)
	s := newTestStore(t, reader.StoreOptions{})
	gentest.Must(t, errors.Join(os.Remove(s.dir), os.Symlink(m.Dir, s.dir)))
	for id := generation.ID(1); id <= 2; id++ {
		s.publish(id)
		s.pin(id)
		s.poll()
	}
	s.want(pinned(1), live(1), pinned(2), live(2), closed(1))

	// The blocks of generation 3 are not cached, in contrast to its index.
	path := publish(t, s.dir, 3, makeKeys("v4", 500*format.RecordsPerBlock, 0))
	f, err := os.Open(path)
	gentest.Must(t, err)
	gentest.Must(t, errors.Join(unix.Fadvise(int(f.Fd()), format.BlockOff(100), format.BlockOff(400), unix.FADV_DONTNEED), f.Close()))
	m.Hang(format.BlockOff(100))
	s.poll()
	for range 3 {
		s.pin(1)
		s.poll()
		s.want(pinned(1), live(1), closed(2))
		s.wantLive(1)
		s.pin(2)
		s.poll()
		s.want(pinned(2), live(2), closed(1))
		s.wantLive(2)
	}
	if st := s.Status(); st.NewestVerified || len(s.verified) > 0 {
		t.Errorf("status %+v; events %d", st, len(s.verified))
	}
	m.Heal()
	for len(s.verified) == 0 { // a poll begins after the former verification has ended
		s.poll()
		reader.WaitStandby(s.Store)
	}
	s.wantVerified(3)
}

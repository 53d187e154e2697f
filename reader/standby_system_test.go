//go:build system

package reader_test

import (
	"errors"
	"os"
	"slices"
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

	s.publishCold(3)
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

// TestPinLeavesHangingVerification pins the generation that is being verified in
// the background, from a disk that hangs. The poll waits for it, until the pin
// moves away.
func TestPinLeavesHangingVerification(t *testing.T) {
	m := fusetest.New(t)
	s := newTestStore(t, reader.StoreOptions{})
	gentest.Must(t, errors.Join(os.Remove(s.dir), os.Symlink(m.Dir, s.dir)))
	s.publish(1)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	s.publishCold(2)
	m.Hang(format.BlockOff(100))
	s.poll()
	s.pin(2)
	polled := make(chan error)
	go func() { polled <- s.Poll(t.Context()) }()
	s.wantFirst(pinned(2))
	s.pin(1)
	gentest.Must(t, <-polled)
	s.want(pinned(1))
	s.wantLive(1)
	m.Heal()
	s.wantVerified(2)
	s.pin(2)
	s.poll()
	s.want(pinned(2), live(2), closed(1))
}

// publishCold publishes a generation whose index is cached, but not its blocks
// after the first 100.
func (s *testStore) publishCold(id generation.ID) {
	s.t.Helper()
	keys := slices.Concat(keysOf(id), makeKeys("v4", 500*format.RecordsPerBlock, 0))
	slices.SortFunc(keys, format.Key.Compare)
	path := publish(s.t, s.dir, id, keys)
	_, err := os.ReadFile(path)
	gentest.Must(s.t, err)
	f, err := os.Open(path)
	gentest.Must(s.t, err)
	gentest.Must(s.t, errors.Join(unix.Fadvise(int(f.Fd()), format.BlockOff(100), 400*format.BlockLen, unix.FADV_DONTNEED), f.Close()))
}

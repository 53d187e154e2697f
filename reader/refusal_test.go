package reader_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// A stoppedClock is the clock of a Store that a test moves on.
type stoppedClock struct{ now time.Time }

func stopClock(s *testStore) *stoppedClock {
	c := &stoppedClock{time.Now()}
	reader.SetClock(s.Store, func() time.Time { return c.now })
	return c
}

// TestPollTriesRefusedFileAgain polls in the middle of a write that sets the
// times of the file only when it begins, like a long write of cp. The end of the
// write changes neither size nor times, and yet the file must become live.
func TestPollTriesRefusedFileAgain(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	clock := stopClock(s)
	s.publish(1)
	s.poll()
	s.want(live(1))
	end := beginWrite(t, s, 2)
	s.poll()
	s.want(refused(2, format.ErrChecksum))
	end()
	clock.now = clock.now.Add(time.Second)
	s.poll()
	s.want(live(2), closed(1))
	if st := s.Status(); len(st.Refused) != 0 {
		t.Errorf("refused: %v", st.Refused)
	}
}

// beginWrite writes generation id except for a block, and returns a function that
// writes the block without changing the times of the file. It uses a mapping,
// where only the first store to a page after its last writeback changes them.
func beginWrite(t *testing.T, s *testStore, id generation.ID) (end func()) {
	t.Helper()
	path := s.publish(id)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	gentest.Must(t, err)
	gentest.Must(t, f.Sync()) // the next writeback is seconds away
	info, err := f.Stat()
	gentest.Must(t, err)
	m, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	gentest.Must(t, err)
	gentest.Must(t, f.Close())
	t.Cleanup(func() { gentest.Must(t, unix.Munmap(m)) })
	block := m[format.BlockOff(3):][:format.BlockLen]
	good := string(block)
	clear(block)
	return func() { copy(block, good) }
}

// TestPollReportsRefusalOnce polls a damaged file once a second for two hours,
// and then one that grows in place. Only another kind of error is reported again.
func TestPollReportsRefusalOnce(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	clock := stopClock(s)
	path := s.publish(1)
	good, err := os.ReadFile(path)
	gentest.Must(t, err)
	gentest.Overwrite(t, path, format.BlockOff(3), []byte("damage"))
	s.poll()
	s.want(refused(1, format.ErrChecksum))
	for range 7200 {
		clock.now = clock.now.Add(time.Second)
		s.poll()
	}
	s.want()

	for n := range 20 {
		gentest.Must(t, os.Truncate(path, 0))
		gentest.Overwrite(t, path, 0, good[:format.HeaderLen+n*format.BlockLen/3])
		s.poll()
		if n == 0 {
			s.want(refused(1, format.ErrTruncated))
		}
		if st := s.Status(); len(st.Refused) != 1 || st.Refused[0].Path != path {
			t.Fatalf("refused: %v", st.Refused)
		}
	}
	s.want()
	gentest.Overwrite(t, path, 0, good)
	s.poll()
	s.want(live(1))
}

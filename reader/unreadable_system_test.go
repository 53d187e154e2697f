//go:build system

package reader_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/fusetest"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestPassingReadErrors makes reads of the disk fail for a while, at the start
// and while a generation is live. The generation becomes and remains live
// without help, and lookups of cached blocks go on.
func TestPassingReadErrors(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.ESTALE, unix.ETIMEDOUT} {
		for _, access := range accesses {
			t.Run(errno.Error()+" "+access.String(), func(t *testing.T) {
				m := fusetest.New(t)
				s := newTestStore(t, reader.StoreOptions{Access: access, IndexOnly: true})
				gentest.Must(t, errors.Join(os.Remove(s.dir), os.Symlink(m.Dir, s.dir)))
				now := time.Now()
				reader.SetClock(s.Store, func() time.Time { return now })
				keys := makeKeys("v4", 500*format.RecordsPerBlock, 0)
				path := publish(t, s.dir, 1, keys)
				evict := func() {
					f, err := os.Open(path)
					gentest.Must(t, err)
					gentest.Must(t, errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()))
				}
				evict()
				m.Fail(errno, 0)
				s.poll()
				s.want(refused(1, errno))
				m.Heal()
				s.poll()
				s.want() // the pause has not ended
				now = now.Add(time.Minute)
				s.poll()
				s.want(live(1))

				f := s.Acquire(0)
				defer s.Release(f, 0)
				evict()
				get := func(block int) error {
					_, found, err := f.Get(keys[block*format.RecordsPerBlock+1])
					if !found && err == nil {
						t.Fatalf("block %d: not found", block)
					}
					return err
				}
				gentest.Must(t, get(0))
				m.Fail(errno, format.BlockOff(200))
				err := get(250)
				if !errors.Is(err, reader.ErrUnreadable) || errors.Is(err, reader.ErrFault) {
					t.Fatalf("Get: %v, want %v", err, reader.ErrUnreadable)
				}
				s.Unreadable(f, err)
				s.Unreadable(f, err)
				s.poll()
				s.want(reader.Event{Kind: reader.EventUnreadable, ID: 1, Err: reader.ErrUnreadable})
				gentest.Must(t, get(0))
				if got := s.Acquire(1); got != f {
					t.Fatal("the generation is not live")
				}
				s.Release(f, 1)
				m.Heal()
				now = now.Add(time.Minute)
				s.poll()
				s.want(reader.Event{Kind: reader.EventReadable, ID: 1})
				gentest.Must(t, get(250))
			})
		}
	}
}

// TestPassingReadErrorsOfShards makes reads of several shards fail for a while.
// There is one event for all, and one after all can be read again.
func TestPassingReadErrorsOfShards(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			m := fusetest.New(t)
			s := newTestStore(t, reader.StoreOptions{Access: access, IndexOnly: true})
			gentest.Must(t, errors.Join(os.Remove(s.dir), os.Symlink(m.Dir, s.dir)))
			clock := stopClock(s)
			keys := makeKeys("v4", 160*format.RecordsPerBlock, 0)
			paths := publishShards(t, s.dir, 1, first16, keys)
			s.poll()
			s.want(live(1))
			for _, path := range paths {
				f, err := os.Open(path)
				gentest.Must(t, err)
				gentest.Must(t, errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close()))
			}
			m.Fail(unix.EIO, 0)
			g, release := s.acquire()
			defer release()
			for i := range 4 {
				_, _, err := g.Get(keys[i*len(keys)/4]) // of another shard each
				if !errors.Is(err, reader.ErrUnreadable) {
					t.Fatalf("Get: %v, want %v", err, reader.ErrUnreadable)
				}
				s.Unreadable(g, err)
			}
			s.poll()
			s.want(reader.Event{Kind: reader.EventUnreadable, ID: 1, Err: reader.ErrUnreadable})
			m.Heal()
			clock.now = clock.now.Add(time.Minute)
			s.poll()
			s.want(reader.Event{Kind: reader.EventReadable, ID: 1})
			records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
			if err := g.GetBatch(keys, records, found); err != nil || slices.Contains(found, false) {
				t.Errorf("GetBatch: %v", err)
			}
		})
	}
}

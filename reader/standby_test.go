package reader_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// wantVerified waits for EventVerified of generation id.
func (s *testStore) wantVerified(id generation.ID) {
	s.t.Helper()
	if got := <-s.verified; got != id {
		s.t.Fatalf("generation %s is verified, want %s", got, id)
	}
	reader.WaitStandby(s.Store)
	if st := s.Status(); !st.NewestVerified {
		s.t.Errorf("status %+v", st)
	}
}

// wantNotVerified checks that the newest generation is not verified and nothing
// verifies it.
func (s *testStore) wantNotVerified() {
	s.t.Helper()
	reader.WaitStandby(s.Store)
	select {
	case id := <-s.verified:
		s.t.Errorf("generation %s is verified", id)
	default:
	}
	if st := s.Status(); st.NewestVerified {
		s.t.Errorf("status %+v", st)
	}
}

// TestNewestIsVerifiedWhilePinned publishes generations while an older one is
// pinned. Each is verified once, and the newest becomes live without being read
// again when the pin is removed.
func TestNewestIsVerifiedWhilePinned(t *testing.T) {
	for _, opts := range []reader.StoreOptions{
		{Access: reader.AccessMmap},
		{Access: reader.AccessPread},
		{Access: reader.AccessMmap, Digits: 0x00FF},
		{Access: reader.AccessMmap, IndexOnly: true},
	} {
		t.Run("", func(t *testing.T) {
			lives := make(chan reader.Event, 10)
			verified := make(chan reader.Event, 10)
			opts.Notify = func(e reader.Event) {
				switch e.Kind {
				case reader.EventLive:
					lives <- e
				case reader.EventVerified:
					verified <- e
				}
			}
			s := newTestStore(t, opts)
			s.publishShards(1, last16)
			s.poll()
			s.want(live(1))
			<-lives
			s.pin(1)
			s.poll()
			s.want(pinned(1))
			s.publishShards(2, last16)
			s.poll()
			s.wantVerified(2)
			<-verified
			s.publishShards(3, first64)
			for range 3 {
				s.poll()
			}
			s.wantVerified(3) // after generation 2 was dropped
			s.poll()
			s.want()
			s.wantLive(1)
			e := <-verified
			s.unpin()
			s.poll()
			s.want(unpinned(), live(3), closed(1))
			l := <-lives
			if l.ID != e.ID || l.Open != e.Open || l.Verify != e.Verify || l.Records != e.Records || l.Bytes != e.Bytes || l.Access != opts.Access || l.Path != e.Path {
				t.Errorf("event %+v, want the figures of %+v", l, e)
			}
			if st := s.Status(); !st.NewestVerified {
				t.Errorf("status %+v", st)
			}
			g, release := s.acquire()
			defer release()
			for _, k := range keysOf(3) {
				if r, found, err := g.Get(k); g.Owns(k) && (r != recordOf(k) || !found || err != nil) {
					t.Fatalf("Get(%s) = %x, %t, %v", k, r, found, err)
				}
			}
		})
	}
}

// TestDamagedNewestIsRefusedWhilePinned damages a shard of the newest generation
// while an older one is pinned. The refusal comes before the pin moves, and after
// the file was replaced the generation is verified.
func TestDamagedNewestIsRefusedWhilePinned(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	path := s.publishShards(2, last16)[7]
	gentest.Flip(t, path, format.HeaderLen+100)
	for range 3 {
		s.poll()
		reader.WaitStandby(s.Store)
	}
	e := <-s.events
	if e.Kind != reader.EventRefused || e.ID != 2 || e.Path != path || !errors.Is(e.Err, format.ErrChecksum) {
		t.Fatalf("event %+v, want a refusal of %s", e, path)
	}
	s.want()
	s.wantNotVerified()
	gentest.Must(t, os.Remove(path))
	s.poll()
	s.wantNotVerified()
	s.publishShards(2, last16)
	s.poll()
	s.wantVerified(2)
	s.want()
	s.wantLive(1)
}

// TestChangedStandbyIsNotServed changes a file of the verified newest generation
// in several ways before the pin moves.
func TestChangedStandbyIsNotServed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, path string)
		want   []reader.Event // after the pin was removed
	}{
		"truncated": {
			func(t *testing.T, path string) { gentest.Must(t, os.Truncate(path, 5000)) },
			[]reader.Event{unpinned(), refused(2, format.ErrTruncated)},
		},
		"damaged": {
			func(t *testing.T, path string) {
				gentest.Flip(t, path, format.HeaderLen+100)
				setTime(t, path, time.Now().Add(time.Hour))
			},
			[]reader.Event{unpinned(), refused(2, format.ErrChecksum)},
		},
		"removed": {
			func(t *testing.T, path string) { gentest.Must(t, os.Remove(path)) },
			[]reader.Event{unpinned()},
		},
		"replaced by a damaged file": {
			func(t *testing.T, path string) {
				text, err := os.ReadFile(path)
				gentest.Must(t, err)
				text[format.HeaderLen+100] ^= 1
				gentest.Must(t, errors.Join(os.WriteFile(path+".new", text, 0o644), os.Rename(path+".new", path)))
			},
			[]reader.Event{unpinned(), refused(2, format.ErrChecksum)},
		},
		"touched": {
			func(t *testing.T, path string) { setTime(t, path, time.Now().Add(time.Hour)) },
			[]reader.Event{unpinned(), live(2), closed(1)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{})
			s.publish(1)
			s.pin(1)
			s.poll()
			s.want(pinned(1), live(1))
			path := s.publishShards(2, last16)[3]
			s.poll()
			s.wantVerified(2)
			c.change(t, path)
			s.unpin()
			s.poll()
			s.want(c.want...)
		})
	}
}

// TestPrunedStandbyIsClosed removes the verified newest generation. The next poll
// closes its files, so that their space becomes free.
func TestPrunedStandbyIsClosed(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	paths := s.publishShards(2, last16)
	s.poll()
	s.wantVerified(2)
	if mappings, descriptors := openFiles(t, s.dir); mappings != 17 || descriptors != 17 {
		t.Errorf("%d mappings and %d descriptors, want 17", mappings, descriptors)
	}
	for _, path := range paths {
		gentest.Must(t, os.Remove(path))
	}
	s.poll()
	if mappings, descriptors := openFiles(t, s.dir); mappings != 1 || descriptors != 1 {
		t.Errorf("%d mappings and %d descriptors, want 1", mappings, descriptors)
	}
	if st := s.Status(); !st.NewestVerified { // generation 1 is the newest
		t.Errorf("status %+v", st)
	}
	s.want()
}

// TestPinMovesUnderLoad moves the pin among generations at random, and publishes
// others, while requests run. Standbys are taken, dropped and canceled. After each
// poll the pinned generation is live.
func TestPinMovesUnderLoad(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			stop := make(chan struct{})
			var wg sync.WaitGroup
			defer wg.Wait()
			defer close(stop)
			s.publishShards(1, last16)
			s.poll()
			for slot := range uint64(4) {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						g := s.Acquire(slot)
						checkRecords(t, g)
						s.Release(g, slot)
						_ = s.Status()
						runtime.Gosched()
					}
				})
			}
			newest := generation.ID(1)
			for range 100 {
				if rand.IntN(3) == 0 {
					newest++
					s.publishShards(newest, shardings[rand.IntN(3)])
				}
				pin := 1 + rand.N(newest)
				s.pin(pin)
				s.poll()
				s.wantLive(pin)
			}
			s.unpin()
			s.poll()
			s.wantLive(newest)
			reader.WaitStandby(s.Store)
			if st := s.Status(); !st.NewestVerified {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// TestStandbyIsClosedForAnotherPin moves the pin to an older generation while the
// newest is verified. There are never three generations in memory.
func TestStandbyIsClosedForAnotherPin(t *testing.T) {
	var s *testStore
	s = newTestStore(t, reader.StoreOptions{Access: reader.AccessMmap, Notify: func(e reader.Event) {
		if e.Kind != reader.EventLive || e.ID != 1 {
			return
		}
		if mappings, _ := openFiles(t, s.dir); mappings != 2 { // of generations 1 and 2
			t.Errorf("%d mappings, want 2", mappings)
		}
	}})
	for id := generation.ID(1); id <= 3; id++ {
		s.publish(id)
	}
	s.pin(2)
	s.poll()
	s.wantVerified(3)
	s.want(pinned(2), live(2))
	s.pin(1)
	s.poll()
	s.wantVerified(3)
	s.want(pinned(1), live(1), closed(2))
}

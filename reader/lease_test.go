package reader_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestStoreSwapsUnderLoad publishes generations of one or 16 files during lookups.
// Every request must see one generation, complete, and never an older one than
// before.
func TestStoreSwapsUnderLoad(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			const last = 50
			s.publish(1)
			s.poll()
			var wg sync.WaitGroup
			for slot := range uint64(8) {
				wg.Go(func() {
					for seen := generation.ID(0); seen < last; {
						g := s.Acquire(slot * 21)
						if g.ID() < seen {
							t.Errorf("generation %s after %s", g.ID(), seen)
						}
						seen = g.ID()
						keys := keysOf(seen)[slot*100:][:100]
						records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
						if err := g.GetBatch(keys, records, found); err != nil || slices.Contains(found, false) {
							t.Errorf("GetBatch in generation %s: %v", seen, err)
						}
						for range 20 {
							checkRecords(t, g)
						}
						s.Release(g, slot*21)
						runtime.Gosched() // like a server between requests
					}
				})
			}
			for id := generation.ID(2); id <= last; id++ {
				if id%3 == 0 {
					s.publishShards(id, last16)
				} else {
					s.publish(id)
				}
				s.poll()
			}
			wg.Wait()
			// All generations became live, and all but the last were closed.
			for range last + last - 1 {
				if e := <-s.events; e.Err != nil {
					t.Errorf("event %+v", e)
				}
			}
			s.want()
			wantMappings, wantDescriptors := 1, 1
			if access == reader.AccessPread {
				wantMappings, wantDescriptors = 0, 2 // for lookups and for sequential reads
			}
			if mappings, descriptors := openFiles(t, s.dir); mappings != wantMappings || descriptors != wantDescriptors {
				t.Errorf("%d mappings and %d descriptors, want %d and %d", mappings, descriptors, wantMappings, wantDescriptors)
			}
		})
	}
}

func TestCloseWaitsForRequests(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	f := s.Acquire(3)
	done := make(chan error)
	go func() { done <- s.Close() }()
	for g := s.Acquire(4); g != nil; g = s.Acquire(4) {
		s.Release(g, 4)
	}
	checkRecords(t, f) // f is open until Release
	s.Release(f, 3)
	gentest.Must(t, <-done)
	s.want(live(1), closed(1))
	if err := s.Poll(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Poll: %v", err)
	}
	s.wantLive(0)
}

func TestReleaseTwicePanics(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	g := s.Acquire(0)
	s.Release(g, 0)
	defer func() {
		if v := fmt.Sprint(recover()); !strings.HasPrefix(v, "BUG: ") {
			t.Errorf("panic %v", v)
		}
		s.Acquire(0) // restores the count, or Close would wait forever
	}()
	s.Release(g, 0)
}

// TestConcurrentFaults reports the same fault in many requests. There is one
// event, and the file is closed after the last release.
func TestConcurrentFaults(t *testing.T) {
	const requests = 8
	s := newTestStore(t, reader.StoreOptions{Access: reader.AccessPread, IndexOnly: true})
	for id := generation.ID(1); id <= 300; id++ {
		path := s.publish(id)
		s.poll()
		s.want(live(id))
		var ready, done sync.WaitGroup
		ready.Add(requests)
		for i := range uint64(requests) {
			done.Go(func() {
				g := s.Acquire(i)
				ready.Done()
				ready.Wait()
				s.Fault(g, reader.LookupError(g, reader.ErrFault))
				s.Release(g, i)
			})
		}
		done.Wait()
		s.want(fault(id), closed(id))
		gentest.Must(t, os.Remove(path))
	}
}

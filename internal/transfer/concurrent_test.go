package transfer_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// A schedule lets one of several processes access the store at a time, in random
// order.
type schedule struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	running int             // processes that do not wait
	waiting []chan struct{} // closed when it is their turn
}

func (s *schedule) turn() {
	s.mu.Lock()
	ch := make(chan struct{})
	s.waiting = append(s.waiting, ch)
	s.pauseLocked()
	s.mu.Unlock()
	<-ch
}

// pauseLocked lets the next process run after the last running one has stopped.
func (s *schedule) pauseLocked() {
	if s.running--; s.running > 0 || len(s.waiting) == 0 {
		return
	}
	i := s.rnd.IntN(len(s.waiting))
	close(s.waiting[i])
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.running++
}

// run runs processes until all have ended.
func (s *schedule) run(processes ...func() error) error {
	errs := make([]error, len(processes))
	var wg sync.WaitGroup
	s.running = len(processes)
	for i, process := range processes {
		wg.Go(func() {
			errs[i] = process()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pauseLocked()
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("process %d: %w", i, err)
		}
	}
	return nil
}

// A scheduled store waits for its turn before each access.
type scheduled struct {
	objects.Store
	schedule *schedule
}

func (s scheduled) List(ctx context.Context, prefix string) iter.Seq2[objects.Object, error] {
	s.schedule.turn()
	return s.Store.List(ctx, prefix)
}

func (s scheduled) Open(ctx context.Context, key string) (*objects.Reader, error) {
	s.schedule.turn()
	return s.Store.Open(ctx, key)
}

func (s scheduled) Put(ctx context.Context, key string, r io.ReaderAt, size int64, cond objects.Cond) (string, error) {
	s.schedule.turn()
	return s.Store.Put(ctx, key, r, size, cond)
}

func (s scheduled) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		s.schedule.turn()
		if err := s.Store.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Pushes of different generations that prune at the same time leave whole
// generations, and the newest one is among them.
func TestConcurrentPushesLeaveWholeGenerations(t *testing.T) {
	m, _ := newS3(t)
	const rounds = 200
	for seed := range uint64(rounds) {
		s := &schedule{rnd: rand.New(rand.NewPCG(seed, 0))}
		prefix := fmt.Sprintf("round%d", seed)
		loc := transfer.New(scheduled{m.store, s}, prefix)
		var ids []generation.ID
		for range 2 {
			ids = append(ids, m.build(t, format.Unsharded, 10))
		}
		process := func(id generation.ID) func() error {
			return func() error {
				g, err := generation.Find(m.dir, id, generation.AllDigits)
				if err != nil {
					return err
				}
				set, err := g.OpenIndex()
				if err != nil {
					return err
				}
				defer set.Close()
				if _, err := loc.Push(t.Context(), set, transfer.Progress{}); err != nil {
					return err
				}
				_, err = loc.Prune(t.Context(), 1, id)
				return err
			}
		}
		processes := []func() error{process(ids[0]), process(ids[1])}
		if seed%2 > 0 {
			processes = append(processes, process(ids[0]))
		}
		if err := s.run(processes...); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		dir, err := os.MkdirTemp(t.TempDir(), "node")
		gentest.Must(t, err)
		pulled, err := transfer.New(m.store, prefix).Pull(t.Context(), dir, all(2))
		if err != nil || len(pulled.PassedOver) > 0 || pulled.Wanted[0] != ids[1] {
			t.Fatalf("seed %d: %+v, %v", seed, pulled, err)
		}
		m.checkNode(t, dir, generation.AllDigits)
		gentest.Must(t, os.RemoveAll(dir))
	}
}

package sequencer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"promostore/internal/sequencer"
)

func TestPassesInOrder(t *testing.T) {
	const pieces = 10_000
	s := sequencer.New()
	var next atomic.Int64
	var got []int64 // guarded by s
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < pieces; i = next.Add(1) - 1 {
				if err := s.Pass(i, func() error { got = append(got, i); return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if len(got) != pieces || !slices.IsSorted(got) {
		t.Errorf("%d numbers passed, sorted: %t; want %d in order", len(got), slices.IsSorted(got), pieces)
	}
}

func TestFirstErrorAbortsLaterNumbers(t *testing.T) {
	s := sequencer.New()
	failed := errors.New("failed")
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			err := s.Pass(i, func() error {
				if i == 3 {
					return failed
				}
				if i > 3 {
					t.Errorf("number %d passed after the error", i)
				}
				return nil
			})
			if want := i >= 3; errors.Is(err, failed) != want {
				t.Errorf("number %d: error %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestAbortDuringSection(t *testing.T) {
	s := sequencer.New()
	aborted := errors.New("aborted")
	err := s.Pass(0, func() error {
		s.Abort(aborted) // must not wait for the section
		return nil
	})
	if err != nil {
		t.Errorf("the running section: error %v", err)
	}
	s.Abort(errors.New("later"))
	err = s.Pass(1, func() error { t.Error("the section ran"); return nil })
	if !errors.Is(err, aborted) {
		t.Errorf("error %v, want %v", err, aborted)
	}
}

func TestCancelReleasesWaiters(t *testing.T) {
	s := sequencer.New()
	cause := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer s.AbortAfter(ctx)()
	ended := make(chan error)
	go func() { ended <- s.Pass(1, func() error { return nil }) }()
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
}

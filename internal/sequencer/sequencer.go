// Package sequencer makes concurrent goroutines pass one section in order.
//
// Goroutines take numbered pieces of work, do most of it at the same time and
// then pass the section in the order of the numbers. The first error ends the
// passage of all.
package sequencer

import (
	"context"
	"sync"
)

// A Sequencer is an ordered section, open for number 0 first. It must be
// created by New. It is safe for concurrent use.
type Sequencer struct {
	mu   sync.Mutex
	cond sync.Cond // next or err has changed
	next int64     // the number that may pass
	err  error     // no number passes any more
}

// New returns a sequencer that no number has passed.
func New() *Sequencer {
	s := &Sequencer{}
	s.cond.L = &s.mu
	return s
}

// Pass waits until every number below n has passed, calls f, and lets n+1 pass.
// An error of f aborts the sequencer. Pass returns the error of f, or the error
// that aborted the sequencer before f was called.
//
// Each number must pass once. Calls of f do not overlap.
func (s *Sequencer) Pass(n int64, f func() error) error {
	if err := s.wait(n); err != nil {
		return err
	}
	// f runs without the mutex, so that a long section does not hold up Abort.
	if err := f(); err != nil {
		s.Abort(err)
		return err
	}
	s.mu.Lock()
	s.next++
	s.mu.Unlock()
	s.cond.Broadcast()
	return nil
}

func (s *Sequencer) wait(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.next != n && s.err == nil {
		s.cond.Wait()
	}
	return s.err
}

// Abort makes all waiting and future calls of Pass return err, which must not
// be nil. It does not interrupt a section that runs. Only the first call has an
// effect.
func (s *Sequencer) Abort(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.mu.Unlock()
	s.cond.Broadcast()
}

// AbortAfter aborts s with the cause of ctx when ctx is done. The returned
// function ends the connection to ctx, like that of context.AfterFunc.
func (s *Sequencer) AbortAfter(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { s.Abort(context.Cause(ctx)) })
}

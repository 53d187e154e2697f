package updater

import (
	"errors"
	"sync"
)

var (
	errBusy   = errors.New("another build is running")
	errClosed = errors.New("the updater is stopping")
)

// A slot admits one build at a time, and none after close. Safe for concurrent
// use. It has no mutex: the caller that put the value into held owns the slot
// until release takes it out.
type slot struct {
	held    chan struct{} // capacity 1
	closing chan struct{} // closed by close

	closeOnce sync.Once
	drainOnce sync.Once
}

func newSlot() *slot {
	return &slot{held: make(chan struct{}, 1), closing: make(chan struct{})}
}

// tryAcquire acquires the slot, or returns errBusy or errClosed at once.
func (s *slot) tryAcquire() error {
	select {
	case <-s.closing:
		return errClosed
	default:
	}
	select {
	case s.held <- struct{}{}:
		return nil
	default:
		return errBusy
	}
}

// acquire waits for the slot. It returns errClosed if the slot closes first.
func (s *slot) acquire() error {
	select {
	case <-s.closing:
		return errClosed
	default:
	}
	select {
	case s.held <- struct{}{}:
		return nil
	case <-s.closing:
		return errClosed
	}
}

// release frees the slot for the next build.
func (s *slot) release() { <-s.held }

// close makes every later acquire fail with errClosed. A running build goes on.
func (s *slot) close() { s.closeOnce.Do(func() { close(s.closing) }) }

// drain waits for the running build. Call it after close; it keeps the slot, so
// that an acquire that raced with close fails too.
func (s *slot) drain() { s.drainOnce.Do(func() { s.held <- struct{}{} }) }

package reader

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"promostore/format/generation"
)

// A Store serves the current generation of a directory: the pinned one, or the
// newest that is servable. It is safe for concurrent use.
//
// Poll moves it from one generation to the next, Acquire and Release bracket a
// request, and Status reports what the last poll found.
type Store struct {
	dir    string
	opts   StoreOptions
	events notifier
	now    func() time.Time // time.Now outside tests

	// Lock-free; see lease.
	live atomic.Pointer[lease] // nil if no generation is live
	open sync.WaitGroup        // leases whose file is open

	polling pollState
	faulted chan struct{} // wakes Run after a fault or a change

	// mu guards the fields below. It is held for moments: never during I/O, a
	// call of Notify or while acquiring another mutex.
	mu       sync.Mutex
	desired  desired
	found    generation.Status  // by the last poll; the other fields complete it
	future   []string           // paths of the files from the future
	refused  map[string]refusal // by path
	last     *generation.ID     // that became live; nil: none
	none     bool               // the last poll found no generation to make live
	closeErr error
}

// StoreOptions configures a Store.
type StoreOptions struct {
	Access    Access
	IndexOnly bool        // make a generation live without verifying its blocks
	Notify    func(Event) // receives events, one at a time; may be nil
}

// NewStore returns a Store for dir, which need not exist yet. It opens nothing;
// the first Poll does.
func NewStore(dir string, opts StoreOptions) *Store {
	return &Store{
		dir:     dir,
		opts:    opts,
		events:  notifier{f: opts.Notify},
		now:     time.Now,
		faulted: make(chan struct{}, 1),
		refused: map[string]refusal{},
	}
}

// becomeLive makes f the live generation and reports e, whose path is that of f.
func (s *Store) becomeLive(f *File, e Event) {
	l := &lease{file: f, path: e.Path}
	l.closed = func(err error) {
		defer s.open.Done()
		s.mu.Lock()
		s.closeErr = errors.Join(s.closeErr, err)
		s.mu.Unlock()
		s.events.notify(Event{Kind: EventClosed, ID: f.ID(), Path: l.path, Err: err})
	}
	f.lease = l
	e.Records, e.Bytes = f.Header().Records, f.Header().FileLen
	id := f.ID()
	s.open.Add(1)
	s.mu.Lock()
	delete(s.refused, e.Path)
	e.Previous, s.last = s.last, &id
	s.mu.Unlock()
	old := s.live.Swap(l)
	s.events.notify(e)
	if old != nil {
		old.expire()
	}
}

// liveFile returns the file of the live generation, or nil. Without Acquire it
// may be closed; its header remains valid.
func (s *Store) liveFile() *File {
	if l := s.live.Load(); l != nil {
		return l.file
	}
	return nil
}

// Fault reports that a lookup in f, which the caller has acquired, returned
// ErrFault. The generation is no longer live, and the next poll replaces it with
// the newest servable one. It also tries the file again if that has changed since it
// was opened, and otherwise after a pause.
func (s *Store) Fault(f *File, err error) {
	l := f.lease
	// Of many concurrent calls, the first does everything.
	if !l.faulted.CompareAndSwap(false, true) {
		return
	}
	s.refuse(l.path, f.opened, err)
	// A newer generation or Close may have expired the lease already.
	wasLive := s.live.CompareAndSwap(l, nil)
	if wasLive {
		l.expire()
	}
	s.events.notify(Event{Kind: EventFault, ID: f.ID(), Path: l.path, Err: err})
	if wasLive {
		s.wake()
	}
}

// wake makes Run poll now, or again after a running poll.
func (s *Store) wake() {
	select {
	case s.faulted <- struct{}{}:
	default:
	}
}

// Changed reports that a lookup in f, which the caller has acquired, returned
// ErrChanged. The generation remains live, and the next poll verifies it again.
// If the file is as it was, lookups of absent ids then succeed. Otherwise the
// poll reports a fault.
func (s *Store) Changed(f *File, err error) {
	if s.live.Load() == f.lease && f.lease.changed.CompareAndSwap(false, true) {
		s.events.notify(Event{Kind: EventChanged, ID: f.ID(), Path: f.lease.path, Err: err})
		s.wake()
	}
}

// Unreadable reports that a lookup in f, which the caller has acquired, returned
// ErrUnreadable. The generation remains live, because other lookups may succeed.
// Polls read the block again after growing pauses. If the file remains
// unreadable, as after a network file system was mounted again, they open it
// again by its path.
func (s *Store) Unreadable(f *File, err error) {
	if f.failure.Load() != nil && f.lease.failed.CompareAndSwap(false, true) {
		s.events.notify(Event{Kind: EventUnreadable, ID: f.ID(), Path: f.lease.path, Err: err})
	}
}

// Close ends the live generation and waits until all requests have been
// released and all files are closed. Later polls return an error.
func (s *Store) Close() error {
	s.stopPolling()
	if l := s.live.Swap(nil); l != nil {
		l.expire()
	}
	s.open.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeErr
}

// A backoff spaces attempts that fail. The zero value allows one at once.
type backoff struct {
	pause time.Duration
	until time.Time // no attempt before
}

const (
	minPause = 500 * time.Millisecond
	maxPause = time.Minute
)

// failed returns the backoff after another failed attempt.
func (b backoff) failed(now time.Time) backoff {
	pause := min(max(2*b.pause, minPause), maxPause)
	return backoff{pause, now.Add(pause)}
}

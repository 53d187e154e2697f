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
	open sync.WaitGroup        // leases whose files are open, and goroutines that prepare a standby

	polling pollState
	faulted chan struct{} // wakes Run after a fault or a change

	// mu guards the fields below. It is held for moments: never during I/O, a
	// call of Notify or while acquiring another mutex.
	mu       sync.Mutex
	desired  desired
	found    generation.Status  // by the last poll; the other fields complete it
	future   []generation.ID    // of the generations from the future
	refused  map[string]refusal // by path
	standby  *standby           // nil: none; only polls change it
	last     *generation.ID     // that became live; nil: none
	none     bool               // the last poll found no generation to make live
	closeErr error
}

// StoreOptions configures a Store.
type StoreOptions struct {
	Access    Access
	Digits    generation.Digits // whose shards to serve; 0: all
	IndexOnly bool              // make a generation live without verifying its blocks
	Notify    func(Event)       // receives events, one at a time; may be nil
}

// NewStore returns a Store for dir, which need not exist yet. It opens nothing;
// the first Poll does.
func NewStore(dir string, opts StoreOptions) *Store {
	if opts.Digits == 0 {
		opts.Digits = generation.AllDigits
	}
	return &Store{
		dir:     dir,
		opts:    opts,
		events:  notifier{f: opts.Notify},
		now:     time.Now,
		faulted: make(chan struct{}, 1),
		refused: map[string]refusal{},
	}
}

// Dir returns the directory of s.
func (s *Store) Dir() string { return s.dir }

// Digits returns the deciding digits of the ids that s serves.
func (s *Store) Digits() generation.Digits { return s.opts.Digits }

// becomeLive makes g the live generation and reports e.
func (s *Store) becomeLive(g *Generation, e Event) {
	l := &lease{generation: g}
	l.closed = func(err error) {
		defer s.open.Done()
		s.mu.Lock()
		s.closeErr = errors.Join(s.closeErr, err)
		s.mu.Unlock()
		s.events.notify(Event{Kind: EventClosed, ID: g.ID(), Path: e.Path, Err: err})
	}
	g.lease = l
	id := g.ID()
	s.open.Add(1)
	s.mu.Lock()
	for _, f := range g.owned {
		delete(s.refused, f.path)
	}
	e.Previous, s.last = s.last, &id
	s.mu.Unlock()
	old := s.live.Swap(l)
	s.events.notify(e)
	if old != nil {
		old.expire()
	}
}

// liveGeneration returns the live generation, or nil. Without Acquire its files
// may be closed; their headers remain valid.
func (s *Store) liveGeneration() *Generation {
	if l := s.live.Load(); l != nil {
		return l.generation
	}
	return nil
}

// Fault reports that a lookup in g, which the caller has acquired, returned err,
// which wraps ErrFault. The generation is no longer live, and the next poll
// replaces it with the newest servable one. It also tries the generation again if
// the bad file has changed since it was opened, and otherwise after a pause.
func (s *Store) Fault(g *Generation, err error) { s.fault(g, failedFile(err), err) }

// fault reports that f, a file of g, is bad because of err.
func (s *Store) fault(g *Generation, f *File, err error) {
	l := g.lease
	// Of many concurrent calls, the first does everything.
	if !l.faulted.CompareAndSwap(false, true) {
		return
	}
	s.refuse(f.path, f.opened, err)
	// A newer generation or Close may have expired the lease already.
	wasLive := s.live.CompareAndSwap(l, nil)
	if wasLive {
		l.expire()
	}
	s.events.notify(Event{Kind: EventFault, ID: g.ID(), Path: f.path, Err: err})
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

// Changed reports that a lookup in g, which the caller has acquired, returned err,
// which wraps ErrChanged. The generation remains live, and the next poll verifies
// the file again. If it is as it was, lookups of absent ids then succeed.
// Otherwise the poll reports a fault.
func (s *Store) Changed(g *Generation, err error) {
	f := failedFile(err)
	if s.live.Load() == g.lease && g.lease.changed.CompareAndSwap(nil, f) {
		s.events.notify(Event{Kind: EventChanged, ID: g.ID(), Path: f.path, Err: err})
		s.wake()
	}
}

// Unreadable reports that a lookup in g, which the caller has acquired, returned
// err, which wraps ErrUnreadable. The generation remains live, because other
// lookups may succeed. Polls read the block again after growing pauses. If the
// file remains unreadable, as after a network file system was mounted again, they
// open the generation again by its paths.
func (s *Store) Unreadable(g *Generation, err error) {
	f := failedFile(err)
	if f.failure.Load() != nil && g.lease.failed.CompareAndSwap(nil, f) {
		s.events.notify(Event{Kind: EventUnreadable, ID: g.ID(), Path: f.path, Err: err})
	}
}

// Close ends the live generation and waits until all requests have been
// released and all files are closed. Later polls return an error.
func (s *Store) Close() error {
	s.stopPolling()
	s.dropStandby()
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

package reader

import (
	"fmt"
	"sync/atomic"
)

// numSlots is the number of counters that the requests of a generation are
// spread over.
const numSlots = 64

// A lease is a reference-counted handle of a generation. It is current while it
// is in Store.live. Then it expires, once and for all, and the last request to
// release it closes the files.
//
// There is no mutex, and requests on different processors share no cache line
// that they write. Operations of sync/atomic happen in one total order, from
// which it follows that the files are closed once, and only after the last
// request:
//
//   - Acquire counts itself and then checks that the lease is current. If so,
//     its count came before the lease left Store.live, and so before expire.
//     Every scan of the counters comes after expire, so it sees the request
//     until its release.
//   - A scan reads the counters one after another. No request can be added any
//     more, so a counter that was without requests remains so, and a scan that
//     finds all of them at zero proves that no request is left.
//   - An Acquire that finds the lease no longer current releases it without
//     touching the files. A scan meanwhile may count it as a request, but then
//     its own release scans again.
//   - A release that finds the lease expired scans. Any other release came
//     before expired was set; expire's scan sees it. Thus a scan follows the
//     last release.
//   - Several scans can find no request. The first to set closing closes the
//     files.
type lease struct {
	generation *Generation
	closed     func(error) // called after the files were closed

	faulted atomic.Bool // a fault was reported

	// The files of events that no event has ended yet; nil: none.
	failed  atomic.Pointer[File] // of EventUnreadable
	changed atomic.Pointer[File] // of EventChanged
	deleted atomic.Pointer[File] // of EventDeleted

	expired atomic.Bool // no longer current
	closing atomic.Bool

	// Every counter has two cache lines to itself, because processors fetch
	// lines in pairs. So have the flags, of which every release reads one.
	_        [128]byte
	requests [numSlots]struct {
		n atomic.Int64
		_ [120]byte
	}
}

// Acquire returns the live generation, or nil if no generation is live. Its files
// stay open until Release. slot selects the counter of the request: use a number
// that different processors tend not to share, such as that of a connection, and
// pass the same number to Release.
func (s *Store) Acquire(slot uint64) *Generation {
	for {
		l := s.live.Load()
		if l == nil {
			return nil
		}
		l.requests[slot%numSlots].n.Add(1)
		if s.live.Load() == l {
			return l.generation
		}
		l.release(slot)
	}
}

// Release ends a request that began with Acquire. It must be called once.
func (s *Store) Release(g *Generation, slot uint64) { g.lease.release(slot) }

func (l *lease) release(slot uint64) {
	if l.requests[slot%numSlots].n.Add(-1) < 0 {
		panic(fmt.Sprintf("BUG: slot %d releases generation %s more often than it acquired it", slot, l.generation.ID()))
	}
	if l.expired.Load() {
		l.closeIfUnused()
	}
}

// expire ends the lease. The caller has removed it from Store.live.
func (l *lease) expire() {
	l.expired.Store(true)
	l.closeIfUnused()
}

// closeIfUnused closes the files of an expired lease if it has no request. A
// goroutine does it, because unmapping a large file takes long.
func (l *lease) closeIfUnused() {
	for i := range l.requests {
		if l.requests[i].n.Load() != 0 {
			return
		}
	}
	if l.closing.CompareAndSwap(false, true) {
		go func() { l.closed(l.generation.close()) }()
	}
}

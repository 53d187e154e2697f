package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// pollState is the state that a poll of a Store carries over to the next.
//
// Its mutex is held for a whole poll, which may take minutes, so polls do not
// overlap. It is acquired before every other mutex of the Store.
type pollState struct {
	mu       sync.Mutex
	closed   bool
	unmet    string  // why the pinned generation is not live, as last reported
	released bool    // EventReleased was reported for the pin
	retry    backoff // of reading the live generation after an error of the file system

	lastStandby *standby // whose goroutine may still run after the standby was dropped; nil: none
}

// Poll makes the desired generation live: the pinned one, or else one newer than
// the live generation. It opens, verifies and warms the generation first. A bad
// file is refused, and the next older generation is tried, if none is pinned and
// it is newer than the live one. Later polls try a refused file again when it has
// changed, and after growing pauses for an hour; see generation.Refusal.
//
// Poll also checks the files of the live generation. If one was truncated or
// damaged, it is no longer live, and the generation is tried like any other.
//
// An error means that the directory cannot be read or that ctx has ended. Bad
// generations are reported as events.
func (s *Store) Poll(ctx context.Context) error {
	s.polling.mu.Lock()
	defer s.polling.mu.Unlock()
	if s.polling.closed {
		return fmt.Errorf("store: %w", os.ErrClosed)
	}
	if err := s.checkLive(ctx); err != nil {
		return err
	}
	for {
		if err := s.pollOnce(ctx); !errors.Is(err, errPinChanged) {
			return err
		}
	}
}

// stopPolling waits for a running poll and makes later ones fail.
func (s *Store) stopPolling() {
	s.polling.mu.Lock()
	defer s.polling.mu.Unlock()
	s.polling.closed = true
}

// pollOnce polls for the pin as it is now. The error wraps errPinChanged if the
// pin changed and the poll must start again.
func (s *Store) pollOnce(ctx context.Context) error {
	// The pin comes first: a pinned generation is older than its pin, so the
	// list that follows has it.
	d := readDesired(s.dir)
	list, err := generation.List(s.dir)
	s.setDirErr(generation.DirError(s.dir, err))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.setNone(s.liveGeneration() == nil)
		return err
	}
	if !readDesired(s.dir).equal(d) {
		return errPinChanged // or the directory was replaced between the reads
	}
	if err != nil {
		d = s.desired // a directory that is gone does not unpin; only polls change it
	}
	s.forgetReplaced(list)
	old, future := s.observe(d, list)
	for _, g := range future {
		s.events.notify(Event{Kind: EventFuture, ID: g.ID, Path: g.Files[0]})
	}
	if !old.equal(d) {
		s.polling.unmet, s.polling.released = "", false
		s.reportPin(old, d)
	}
	if err := s.recoverLive(ctx, d, list); err != nil {
		return err
	}
	live := s.liveGeneration()
	none := live == nil
	for _, g := range d.candidates(list, live) {
		isLive, err := s.try(ctx, g, d)
		if err != nil {
			return err
		}
		if isLive {
			none = false
			break
		}
	}
	s.setNone(none)
	s.reportUnmet(d, list)
	s.reportReleased(d)
	s.reportDeleted()
	s.setHeld(d, list)
	s.keepStandby(d, list)
	return nil
}

// try makes g live if it is good, and refuses it otherwise. The error wraps
// errPinChanged if the pin is no longer that of d.
func (s *Store) try(ctx context.Context, g generation.Generation, d desired) (live bool, err error) {
	if !s.isWorthOpening(g) {
		return false, nil
	}
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	progress := cancelOnPinChange(s.dir, d, cancel)
	s.setOpening(&g.ID)
	defer s.setOpening(nil)
	opened, e := s.takeStandby(opening, g, progress)
	if opened == nil && opening.Err() == nil && s.isWorthOpening(g) {
		opened, e = s.prepare(opening, g, progress)
	}
	switch {
	case opened != nil && !readDesired(s.dir).equal(d):
		_ = opened.close() // it was only read
		return false, errPinChanged
	case opened != nil:
		s.polling.retry = backoff{}
		s.becomeLive(opened, e)
		return true, nil
	case opening.Err() != nil:
		return false, context.Cause(opening)
	}
	return false, nil
}

// prepare opens, verifies and warms the files of g, and returns its EventLive. If
// g is not servable, prepare returns nil, after it has refused and reported a bad
// file. progress is that of Verify.
func (s *Store) prepare(ctx context.Context, g generation.Generation, progress func(done, size int64)) (*Generation, Event) {
	e := Event{Kind: EventLive, ID: g.ID}
	identities := map[string]fsx.Identity{}
	opened, err := s.openAndVerify(ctx, g, &e, identities, progress)
	switch {
	case err == nil:
		return opened, e
	case ctx.Err() != nil,
		errors.Is(err, generation.ErrIncomplete), // files may still arrive
		errors.Is(err, fs.ErrNotExist),           // removed since they were listed
		errors.Is(err, syscall.ENOTDIR):          // or their directory
		return nil, e
	}
	e.Kind, e.Path, e.Err = EventRefused, failedPath(g, identities, err), err
	if s.refuse(e.Path, identities[e.Path], err) {
		s.events.notify(e)
	}
	return nil, e
}

// failedPath returns the path of the file of g to refuse because of err. If the
// process has too many open files, every attempt fails at another file, so
// failedPath returns the first one with an identity.
func failedPath(g generation.Generation, identities map[string]fsx.Identity, err error) string {
	if fsx.IsTooManyOpen(err) {
		for _, path := range g.Files {
			if _, found := identities[path]; found {
				return path
			}
		}
	}
	return g.FileOf(err)
}

// openAndVerify opens, verifies and warms the files of g, and sets the fields of e.
// identities are those of openGeneration.
func (s *Store) openAndVerify(ctx context.Context, g generation.Generation, e *Event, identities map[string]fsx.Identity, progress func(done, size int64)) (*Generation, error) {
	start := time.Now()
	opened, err := openGeneration(g, s.opts.Digits, s.opts.Access, identities)
	e.Open = time.Since(start)
	if err != nil {
		return nil, err
	}
	e.Path, e.Access = opened.owned[0].path, opened.Access()
	e.Records, e.Bytes = opened.Header().Records, opened.Header().FileLen
	if s.opts.IndexOnly {
		return opened, nil
	}
	workers := runtime.GOMAXPROCS(0)
	if s.liveGeneration() != nil {
		workers = 1 // the other processors are for requests
	}
	start = time.Now()
	if err = opened.verify(ctx, workers, progress); err == nil {
		err = opened.warm(ctx)
	}
	e.Verify = time.Since(start)
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return opened, nil
}

// isTransient reports whether err is an error of the operating system, and not
// of the content of the file. It may disappear without a change of the file:
// permissions, limits of the process, disks and networks.
func isTransient(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) || errors.Is(err, ErrUnreadable)
}

// reportPin reports a change of the pin.
func (s *Store) reportPin(old, d desired) {
	e := Event{ID: d.pin.ID, Path: filepath.Join(s.dir, generation.PinName), Pin: d.pin, Err: d.err}
	switch {
	case d.err != nil:
		e.Kind = EventPinUnreadable
	case d.pin.Active:
		e.Kind = EventPinned
	case old.pin.Active || old.err != nil:
		e.Kind = EventUnpinned
	default:
		return
	}
	s.events.notify(e)
}

// reportUnmet reports, once per reason, why the pinned generation is not live.
func (s *Store) reportUnmet(d desired, list []generation.Generation) {
	if d.met(s.liveGeneration()) {
		s.polling.unmet = ""
		return
	}
	err := fmt.Errorf("%s: %w: %s", s.dir, generation.ErrAbsent, d.pin.ID)
	for _, g := range list {
		if g.ID == d.pin.ID {
			if reason := s.unservable(g); reason != nil { // nil: removed since it was listed
				err = reason
			}
		}
	}
	if reason := reasonOf(err); s.polling.unmet != reason {
		s.polling.unmet = reason
		s.events.notify(Event{Kind: EventPinUnmet, ID: d.pin.ID, Path: filepath.Join(s.dir, generation.PinName), Pin: d.pin, Err: err})
	}
}

// reportReleased reports, once, that the live generation has released the pin.
func (s *Store) reportReleased(d desired) {
	live := s.liveGeneration()
	if live == nil || s.polling.released || !d.pin.ReleasedBy(live.ID(), time.Now()) {
		return
	}
	s.polling.released = true
	s.events.notify(Event{Kind: EventReleased, ID: live.ID(), Path: filepath.Join(s.dir, generation.PinName), Pin: d.pin})
}

// setHeld records since when the pin holds back a newer servable generation. One
// that was not opened yet counts: the standby finds out soon.
func (s *Store) setHeld(d desired, list []generation.Generation) {
	var since time.Time
	if live := s.liveGeneration(); live != nil {
		since = d.pin.HeldSince(list, live.ID(), s.unservable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Held = since
}

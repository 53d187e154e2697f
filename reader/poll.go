package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"syscall"
	"time"

	"promostore/format"
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
	unmet    string             // why the pinned generation is not live, as last reported
	released bool               // EventReleased was reported for the pin
	checker  generation.Checker // of the generations that the pin holds back
	retry    backoff            // of reading the live generation after an error of the file system
}

// Poll makes the desired generation live: the pinned one, or else one newer than
// the live generation. It opens, verifies and warms the generation first. A bad
// file is refused, and the next older generation is tried, if none is pinned and
// it is newer than the live one. Later polls try a refused file again when it has
// changed, and after growing pauses for an hour; see generation.Refusal.
//
// Poll also checks the file of the live generation. If that was truncated or
// damaged, it is no longer live, and the file is tried like any other.
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
		s.setNone(s.liveFile() == nil)
		return err
	}
	if !readDesired(s.dir).equal(d) {
		return errPinChanged // or the directory was replaced between the reads
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
	live := s.liveFile()
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
	return nil
}

// checkLive verifies the file of the live generation again if its times have
// changed, as after touch, and reports a fault if its size has or if it is bad.
// Lookups that find their id notice neither a file cut in mid-page nor one that
// was overwritten.
func (s *Store) checkLive(ctx context.Context) error {
	f := s.Acquire(0)
	if f == nil {
		return nil
	}
	defer s.Release(f, 0)
	now, err := f.state()
	if err != nil {
		return nil
	}
	good := f.good.Load()
	if good.unchanged(&now) {
		f.adopt(good, now)
		s.reportUnchanged(f)
		return nil
	}
	if now.size == f.index.FileLen {
		if s.now().Before(s.polling.retry.until) {
			return nil
		}
		err := s.verifyAgain(ctx, f, &now)
		switch {
		case err == nil:
			f.good.Store(&now)
			s.polling.retry = backoff{}
			s.reportUnchanged(f)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isTransient(err):
			s.polling.retry = s.polling.retry.failed(s.now())
			return nil
		}
	}
	s.Fault(f, fmt.Errorf("%w: %s", ErrFault, f.change()))
	return nil
}

// reportUnchanged reports that f is good, if EventChanged was reported before.
func (s *Store) reportUnchanged(f *File) {
	if f.lease.changed.CompareAndSwap(true, false) {
		s.events.notify(Event{Kind: EventUnchanged, ID: f.ID(), Path: f.lease.path})
	}
}

// verifyAgain checks a live file whose state changed to now. The index must be
// that of f, because another good file would not fit the tables in memory. Then
// the blocks are verified, as far as prepare did.
func (s *Store) verifyAgain(ctx context.Context, f *File, now *fileState) error {
	// Without this pause, a write that follows the verification may leave the
	// times as they are.
	settled := time.NewTimer(now.settleTime())
	defer settled.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-settled.C:
	}
	x, err := format.Open(f.file, f.index.FileLen)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(x, f.index) {
		return fmt.Errorf("%w: the file has other checksums than when it was opened", format.ErrChecksum)
	}
	if s.opts.IndexOnly {
		return nil
	}
	return f.verify(ctx, 1, nil)
}

// recoverLive reads the block again that a lookup in the live generation could
// not read. If the open file remains unreadable, but its path can be read, the
// generation is opened again. The error is that of try.
func (s *Store) recoverLive(ctx context.Context, d desired, list []generation.Generation) error {
	f := s.Acquire(0)
	if f == nil {
		return nil
	}
	defer s.Release(f, 0)
	failed := f.failure.Load()
	if failed == nil || s.now().Before(s.polling.retry.until) {
		return nil
	}
	if err := f.VerifyKey(failed.key); !isTransient(err) {
		s.polling.retry = backoff{}
		f.failure.Store(nil)
		if f.lease.failed.CompareAndSwap(true, false) {
			s.events.notify(Event{Kind: EventReadable, ID: f.ID(), Path: f.lease.path})
		}
		return nil
	}
	s.polling.retry = s.polling.retry.failed(s.now())
	for _, g := range list {
		if g.ID != f.ID() {
			continue
		}
		again, err := openGeneration(g, AccessPread)
		if err != nil {
			return nil
		}
		err = errors.Join(again.VerifyKey(failed.key), again.Close())
		if err != nil {
			return nil
		}
		_, err = s.try(ctx, g, d)
		return err
	}
	return nil
}

// try makes g live if it is good, and refuses it otherwise. The error wraps
// errPinChanged if the pin is no longer that of d.
func (s *Store) try(ctx context.Context, g generation.Generation, d desired) (live bool, err error) {
	path := g.Files[0]
	var id fsx.Identity
	info, err := os.Stat(path)
	if err == nil {
		id = fsx.IdentityOf(info)
		if s.isRefused(path, id) {
			return false, nil
		}
	}
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e := Event{ID: g.ID, Path: path}
	var f *File
	if err == nil {
		s.setOpening(&g.ID)
		f, err = s.prepare(opening, g, &e, cancelOnPinChange(s.dir, d, cancel))
		s.setOpening(nil)
	}
	switch {
	case err == nil && !readDesired(s.dir).equal(d):
		_ = f.Close() // it was only read
		return false, errPinChanged
	case err == nil:
		e.Kind = EventLive
		s.polling.retry = backoff{}
		s.becomeLive(f, e)
		return true, nil
	case opening.Err() != nil:
		return false, context.Cause(opening)
	case errors.Is(err, fs.ErrNotExist): // removed since it was listed
		return false, nil
	}
	if s.refuse(path, id, err) {
		e.Kind, e.Err = EventRefused, err
		s.events.notify(e)
	}
	return false, nil
}

// prepare opens, verifies and warms the file of g, and sets the times and the
// access of e. progress is that of Verify.
func (s *Store) prepare(ctx context.Context, g generation.Generation, e *Event, progress func(done, size int64)) (*File, error) {
	start := time.Now()
	f, err := openGeneration(g, s.opts.Access)
	e.Open = time.Since(start)
	if err != nil {
		return nil, err
	}
	e.Access = f.Access()
	if s.opts.IndexOnly {
		return f, nil
	}
	workers := runtime.GOMAXPROCS(0)
	if s.liveFile() != nil {
		workers = 1 // the other processors are for requests
	}
	start = time.Now()
	if err = f.verify(ctx, workers, progress); err == nil {
		err = f.warm(ctx)
	}
	e.Verify = time.Since(start)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", g.Files[0], err), f.Close())
	}
	return f, nil
}

// openGeneration opens the file of g and checks that g is servable, except for
// its blocks.
func openGeneration(g generation.Generation, access Access) (*File, error) {
	return generation.Open(g, func(path string) (*File, error) { return Open(path, access) })
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
	if d.met(s.liveFile()) {
		s.polling.unmet = ""
		return
	}
	err := fmt.Errorf("%s: %w: %s", s.dir, generation.ErrAbsent, d.pin.ID)
	for _, g := range list {
		if g.ID == d.pin.ID {
			err = s.refusalError(g.Files[0])
		}
	}
	if s.polling.unmet == err.Error() {
		return
	}
	s.polling.unmet = err.Error()
	s.events.notify(Event{Kind: EventPinUnmet, ID: d.pin.ID, Path: filepath.Join(s.dir, generation.PinName), Pin: d.pin, Err: err})
}

// reportReleased reports, once, that the live generation has released the pin.
func (s *Store) reportReleased(d desired) {
	f := s.liveFile()
	if f == nil || s.polling.released || !d.pin.ReleasedBy(f.ID(), time.Now()) {
		return
	}
	s.polling.released = true
	s.events.notify(Event{Kind: EventReleased, ID: f.ID(), Path: filepath.Join(s.dir, generation.PinName), Pin: d.pin})
}

// setHeld records since when the pin holds back a newer servable generation. To
// find out whether one is servable, it reads the index once.
func (s *Store) setHeld(d desired, list []generation.Generation) {
	var since time.Time
	if f := s.liveFile(); f != nil {
		since = d.pin.HeldSince(list, f.ID(), s.polling.checker.Servable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Held = since
}

// reportDeleted reports that the file of the live generation was deleted, or that
// the directory has it again. Newer generations were tried before, so a file that
// was pruned while its successor was verified is no longer live.
func (s *Store) reportDeleted() {
	l := s.live.Load()
	if l == nil {
		return
	}
	_, err := os.Stat(l.path)
	deleted := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
	if err != nil && !deleted || !l.deleted.CompareAndSwap(!deleted, deleted) {
		return
	}
	e := Event{Kind: EventRestored, ID: l.file.ID(), Path: l.path}
	if deleted {
		e.Kind, e.Err = EventDeleted, err
	}
	s.events.notify(e)
}

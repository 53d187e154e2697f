package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// A refusal is why a file is not served.
type refusal struct {
	identity fsx.Identity
	reason   string
	passing  bool // not the file's fault: worth another try
}

// refuse remembers r, and reports whether it is news.
func (s *Store) refuse(path string, r refusal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.refused[path]
	s.refused[path] = r
	return !found || !old.identity.Equal(r.identity) || old.reason != r.reason
}

// isRefused reports whether there is no point in opening the file at path.
func (s *Store) isRefused(path string, id fsx.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, found := s.refused[path]
	return found && r.identity.Equal(id) && !r.passing
}

// forget drops the refusals of files that are gone, or not the same any more.
func (s *Store) forget(list []generation.Generation) {
	there := map[string]bool{}
	for _, g := range list {
		there[g.Files[0]] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, r := range s.refused {
		info, err := os.Stat(path)
		if !there[path] || err == nil && !fsx.IdentityOf(info).Equal(r.identity) {
			delete(s.refused, path)
		}
	}
}

// Poll looks once for a generation that should be live and is not, opens,
// verifies and warms it, and makes it the current one: the pinned one, or else
// one that is newer than the current one. A file that is bad is refused, and
// not looked at again until it is replaced; then the next older one has its
// turn, if it is newer than the current one and none is pinned. Only what keeps
// Poll from looking is an error: that the directory cannot be read, or that ctx
// ends.
//
// It also takes the current generation out of service if its file was cut or
// damaged, and then tries that file like any other.
func (s *Store) Poll(ctx context.Context) error {
	s.polling.Lock()
	defer s.polling.Unlock()
	if s.closed {
		return fmt.Errorf("store: %w", os.ErrClosed)
	}
	if err := s.checkLive(ctx); err != nil {
		return err
	}
	for {
		if err := s.look(ctx); !errors.Is(err, errPinMoved) {
			return err
		}
	}
}

// look is Poll for one state of the pin.
func (s *Store) look(ctx context.Context) error {
	// In this order: what is pinned was there before the pin.
	w := s.readWish()
	list, err := s.list()
	if err != nil {
		return err
	}
	s.forget(list)
	s.note(w, list)
	for _, g := range w.candidates(list, s.live.Load()) {
		if took, err := s.try(ctx, g, w); err != nil {
			return err
		} else if took {
			break
		}
	}
	s.noteUnmet(w, list)
	return nil
}

// checkLive finds a current file that was cut or overwritten before a lookup
// does. A lookup would not notice where the cut leaves a part of a page, nor
// that the fences are those of what was there before. A file that has another
// time only, as after touch, is verified again while it goes on serving.
func (s *Store) checkLive(ctx context.Context) error {
	f := s.Acquire(0)
	if f == nil {
		return nil
	}
	defer s.Release(f, 0)
	info, err := f.file.Stat()
	if err != nil || f.tenure.seen.SameContent(fsx.IdentityOf(info)) {
		return nil
	}
	if info.Size() == f.Header().FileLen && !s.opts.IndexOnly {
		if f.verify(ctx, 1, nil) == nil {
			f.tenure.seen = fsx.IdentityOf(info)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	s.Fault(f, fmt.Errorf("%w: %s", ErrFault, f.change()))
	return nil
}

// try makes g the current generation if it is good. If the pin is not as w has
// it any more, which may be after a long time, the error is errPinMoved.
func (s *Store) try(ctx context.Context, g generation.Generation, w wish) (took bool, err error) {
	path := g.Files[0]
	info, err := os.Stat(path)
	if err == nil && s.isRefused(path, fsx.IdentityOf(info)) {
		return false, nil
	}
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var e Event
	var f *File
	if err == nil {
		f, e, err = s.openGeneration(opening, g, s.watchWish(w, cancel))
	}
	switch {
	case err == nil && !s.readWish().equal(w):
		_ = f.Close() // it was only read
		return false, errPinMoved
	case err == nil:
		s.goLive(f, e)
		return true, nil
	case opening.Err() != nil:
		return false, context.Cause(opening)
	case errors.Is(err, fs.ErrNotExist): // removed since it was listed
		return false, nil
	}
	r := refusal{reason: err.Error(), passing: isPassing(err)}
	if info != nil {
		r.identity = fsx.IdentityOf(info)
	}
	if s.refuse(path, r) {
		e.Kind, e.ID, e.Path, e.Err = EventRefused, g.ID, path, err
		s.notify(e)
	}
	return false, nil
}

// isPassing reports whether err is about this process or its permissions, so
// that it may go away without a change to the file.
func isPassing(err error) bool {
	for _, target := range [...]error{fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// Run polls at once, then every interval, when nudged, and when a file
// faulted, until ctx ends. nudge may be nil.
func (s *Store) Run(ctx context.Context, interval time.Duration, nudge <-chan struct{}) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	reported := ""
	for {
		err := s.Poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			reported = ""
		} else if err.Error() != reported {
			reported = err.Error()
			s.notify(Event{Kind: EventUnreadable, Path: s.dir, Err: err})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		case _, ok := <-nudge:
			if !ok {
				nudge = nil
			}
		}
	}
}

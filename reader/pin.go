package reader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"promostore/format/generation"
)

// errPinMoved says that a generation was opened for a pin that is not there any
// more.
var errPinMoved = errors.New("the pin has changed")

// pinInterval is how often the pin is looked at while a generation is verified,
// which takes minutes if it is large. Who goes back to another does not wait
// for that.
const pinInterval = time.Second

// A wish is what the pin of a directory asks for.
type wish struct {
	pin generation.Pin
	err error // the pin cannot be read
}

// readWish reads the pin: 20 µs, so that there is nothing to gain from finding
// out first whether it has changed.
func (s *Store) readWish() wish {
	pin, err := generation.ReadPin(s.dir)
	return wish{pin, err}
}

func (w wish) equal(o wish) bool {
	return w.pin.Equal(o.pin) && fmt.Sprint(w.err) == fmt.Sprint(o.err)
}

// candidates is which of list to try, in this order, while live serves, which
// may be nil.
func (w wish) candidates(list []generation.Generation, live *tenure) []generation.Generation {
	order := w.pin.Order(list)
	end := len(order)
	switch {
	case live == nil: // any is better than none
	case w.err != nil, w.pin.Active && live.file.ID() == w.pin.ID:
		end = 0
	case w.pin.Active:
		end = slices.IndexFunc(order, func(g generation.Generation) bool { return g.ID != w.pin.ID })
	default:
		end = slices.IndexFunc(order, func(g generation.Generation) bool { return g.ID <= live.file.ID() })
	}
	if end < 0 {
		end = len(order)
	}
	return order[:end]
}

// watchWish is a progress of Verify that cancels if the pin is not as w has it
// any more.
func (s *Store) watchWish(w wish, cancel context.CancelCauseFunc) func(done, size int64) {
	last := time.Now()
	return func(_, _ int64) {
		if time.Since(last) < pinInterval {
			return
		}
		last = time.Now()
		if !s.readWish().equal(w) {
			cancel(errPinMoved)
		}
	}
}

// note remembers what was found, and tells if the pin is news.
func (s *Store) note(w wish, list []generation.Generation) {
	s.mu.Lock()
	old := s.wish
	s.wish, s.newest = w, generation.Generation{}
	if n := len(list); n > 0 {
		s.newest = list[n-1]
	}
	s.mu.Unlock()
	if old.equal(w) {
		return
	}
	s.unmet = ""
	e := Event{ID: w.pin.ID, Path: filepath.Join(s.dir, generation.PinName), Pin: w.pin, Err: w.err}
	switch {
	case w.err != nil:
		e.Kind = EventPinUnreadable
	case w.pin.Active:
		e.Kind = EventPinned
	case old.pin.Active || old.err != nil:
		e.Kind = EventUnpinned
	default:
		return
	}
	s.notify(e)
}

// noteUnmet tells, once, if what is pinned is not live, and why.
func (s *Store) noteUnmet(w wish, list []generation.Generation) {
	if t := s.live.Load(); !w.pin.Active || t != nil && t.file.ID() == w.pin.ID {
		s.unmet = ""
		return
	}
	err := fmt.Errorf("%s: %w: %s", s.dir, generation.ErrAbsent, w.pin.ID)
	for _, g := range list {
		if g.ID == w.pin.ID {
			err = s.refusalOf(g.Files[0])
		}
	}
	if s.unmet == err.Error() {
		return
	}
	s.unmet = err.Error()
	s.notify(Event{Kind: EventPinUnmet, ID: w.pin.ID, Path: filepath.Join(s.dir, generation.PinName), Pin: w.pin, Err: err})
}

// refusalOf is why the file at path is not served.
func (s *Store) refusalOf(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, found := s.refused[path]; found {
		return fmt.Errorf("refused: %s", r.reason)
	}
	return fmt.Errorf("%s: %w", path, generation.ErrAbsent) // removed since it was listed
}

// Status is what the last Poll found in the directory.
type Status struct {
	Pin    generation.Pin
	PinErr error // why there is a pin that cannot be read

	Newest  generation.ID // by name, good or not
	Any     bool          // whether there is a Newest
	Refused []Refused     // by path
}

// Refused is a file that is not served, and why.
type Refused struct {
	Path   string
	Reason string
}

// Status is what the last Poll found.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Pin: s.wish.pin, PinErr: s.wish.err, Newest: s.newest.ID, Any: len(s.newest.Files) > 0}
	for path, r := range s.refused {
		st.Refused = append(st.Refused, Refused{path, r.reason})
	}
	slices.SortFunc(st.Refused, func(a, b Refused) int { return cmp.Compare(a.Path, b.Path) })
	return st
}

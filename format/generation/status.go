package generation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"promostore/format"
	"promostore/internal/fsx"
)

// ErrEmpty reports that a directory has no generation, or does not exist.
var ErrEmpty = errors.New("no generation yet")

// Values of Status.DirErr for a directory that may be created later.
var (
	errNoDir    = errors.New("the directory does not exist")
	errNoTarget = errors.New("the directory is a symbolic link to nothing")
)

// A Status describes a directory from the point of view of a server.
type Status struct {
	Live    *format.Header // of the live generation; nil: none
	Deleted bool           // the directory no longer has a file of the live generation
	Opening *ID            // the generation that a server opens and verifies; nil: none

	DirErr error // why the directory cannot be read, see DirError; nil: it was read
	Pin    Pin
	PinErr error     // why the pin cannot be read
	Held   time.Time // since when Pin keeps a server from a newer servable generation; zero: it does not

	Newest  *ID          // by name, servable or not; nil: none
	Shards  int          // of the newest generation
	Missing []int        // the shards of the newest generation that a server needs and that are missing
	Ahead   []Generation // those ahead of the clock; see Future
	Refused []Refused    // the files that a server refused, by path

	NewestVerified bool // the newest generation can become live at once
}

// Refused is a file that is not served, and the reason.
type Refused struct {
	Path string
	Err  error // names the path, too
}

// Status describes dir. Its live generation is the one that Live returns for
// conditions 1 to 4 and 6. The refused files are those of generations that are
// preferred to it. The same conditions decide whether the newest is verified. Status
// reads each file only once.
func (c *Checker) Status(dir string) Status {
	list, err := List(dir)
	st := Status{DirErr: DirError(dir, err)}
	st.SetList(list, AllDigits)
	st.Pin, st.PinErr = ReadPin(dir)
	_, _ = First(context.Background(), st.Pin.Candidates(list), func(g Generation) error {
		h, err := c.Header(g)
		if err != nil {
			if !errors.Is(err, ErrIncomplete) {
				st.Refused = append(st.Refused, Refused{g.FileOf(err), err})
			}
			return err
		}
		st.Live = &h
		return nil
	})
	if len(list) > 0 {
		st.NewestVerified = c.Servable(list[len(list)-1]) == nil
	}
	if st.Live != nil {
		st.Held = st.Pin.HeldSince(list, ID(st.Live.Generation), c.Servable)
	}
	return st
}

// Pinned returns the pinned generation; nil if none is pinned or a newer one has
// released the pin.
func (s *Status) Pinned() *ID {
	if !s.Pin.Active || s.Live != nil && s.Pin.ReleasedBy(ID(s.Live.Generation), time.Now()) {
		return nil
	}
	return &s.Pin.ID
}

// SetList sets Newest, Shards, Missing and Ahead for a server of these digits. The
// list is in the order of List.
func (s *Status) SetList(list []Generation, digits Digits) {
	s.Newest, s.Shards, s.Missing, s.Ahead = nil, 0, nil, nil
	if len(list) > 0 {
		newest := list[len(list)-1]
		s.Newest, s.Shards, s.Missing = &newest.ID, newest.Shards, newest.MissingOf(digits)
	}
	now := time.Now()
	for _, g := range list {
		if g.ID.Ahead(now) > 0 {
			s.Ahead = append(s.Ahead, g)
		}
	}
}

// Problem returns why no generation is live, or why a server does not find new
// ones; nil: neither. It names no file, so that servers may tell it every client.
// The error wraps ErrEmpty if there is no generation.
func (s *Status) Problem() error {
	switch {
	case s.Live != nil:
		return s.DirErr
	case s.Opening != nil:
		return fmt.Errorf("no generation is live: %s is being verified", s.Opening)
	case errors.Is(s.DirErr, errNoDir), errors.Is(s.DirErr, errNoTarget):
		return fmt.Errorf("%w: %w", ErrEmpty, s.DirErr)
	case s.DirErr != nil:
		return fmt.Errorf("no generation: %w", s.DirErr)
	case len(s.Refused) == 0 && len(s.Missing) > 0:
		return fmt.Errorf("%w: %w", ErrNoneServable, &IncompleteError{*s.Newest, s.Shards, s.Missing})
	case len(s.Refused) == 0:
		return ErrEmpty
	}
	newest := slices.MaxFunc(s.Refused, func(a, b Refused) int { return cmp.Compare(a.Path, b.Path) })
	if n := len(s.Refused); n > 1 {
		return fmt.Errorf("%w: the newest of %d refused: %s", ErrNoneServable, n, newest)
	}
	return fmt.Errorf("%w: %s", ErrNoneServable, newest)
}

// String returns the generation and the reason, without the name of a file.
func (r Refused) String() string {
	reason := PublicReason(r.Err)
	if name, err := ParseName(filepath.Base(r.Path)); err == nil {
		return name.ID.String() + ": " + reason
	}
	return reason
}

// PublicReason returns why a generation is not servable or cannot be read, without
// the name of a file or bytes of it.
func PublicReason(err error) string {
	if e := (*IncompleteError)(nil); errors.As(err, &e) {
		return e.reason()
	}
	for _, kind := range [...]error{
		ErrMisnamed, ErrDisagree, format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder, fsx.ErrNotRegular,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "removed meanwhile"
	case fsx.IsTooManyOpen(err):
		return "too many open files"
	}
	return "a file cannot be read"
}

// DirError returns err, the result of List, without the path; nil if err is nil.
func DirError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("the directory cannot be read: %w", err)
	}
	if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return errNoTarget
	}
	return errNoDir
}

package reader

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"promostore/format/generation"
)

// ErrEmpty reports that a directory has no generation, or does not exist.
var ErrEmpty = errors.New("no generation yet")

// Values of Status.DirErr for a directory that may be created later.
var (
	errNoDir    = errors.New("the directory does not exist")
	errNoTarget = errors.New("the directory is a symbolic link to nothing")
)

// Status is the state of a Store and of its directory in the last Poll.
type Status struct {
	DirErr  error          // why the directory cannot be read, without its path; nil: it was read
	Opening *generation.ID // the generation that a running poll opens and verifies; nil: none
	Deleted bool           // the directory no longer has the file of the live generation

	Pin    generation.Pin
	PinErr error // why the pin cannot be read

	Newest  generation.ID // by name, servable or not
	Any     bool          // whether there is a Newest
	Future  []string      // paths of the files from the future, see generation.MaxAhead
	Refused []Refused     // by path
}

// Refused is a file that is not served, and the reason.
type Refused struct {
	Path   string
	Reason string
}

// Status returns what the last Poll found.
func (s *Store) Status() Status {
	l := s.live.Load()
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{
		DirErr: s.dirErr, Opening: s.opening, Deleted: l != nil && l.deleted.Load(),
		Pin: s.desired.pin, PinErr: s.desired.err,
		Newest: s.newest, Any: s.any, Future: s.future,
	}
	for path, r := range s.refused {
		if !r.outdated {
			st.Refused = append(st.Refused, Refused{path, r.reason})
		}
	}
	slices.SortFunc(st.Refused, func(a, b Refused) int { return cmp.Compare(a.Path, b.Path) })
	return st
}

// Unready returns the reason why no generation is live, for a Store without one.
// It names no path. The error wraps ErrEmpty if there is no generation.
func (st *Status) Unready() error {
	switch {
	case st.Opening != nil:
		return fmt.Errorf("no generation yet: %s is being verified", st.Opening)
	case errors.Is(st.DirErr, errNoDir), errors.Is(st.DirErr, errNoTarget):
		return fmt.Errorf("%w: %w", ErrEmpty, st.DirErr)
	case st.DirErr != nil:
		return fmt.Errorf("no generation: %w", st.DirErr)
	case len(st.Refused) == 0:
		return ErrEmpty
	}
	newest := st.Refused[len(st.Refused)-1]
	if n := len(st.Refused); n > 1 {
		return fmt.Errorf("no servable generation: the newest of %d refused: %s", n, newest)
	}
	return fmt.Errorf("no servable generation: %s", newest)
}

// String returns the generation and the reason, without the path.
func (r Refused) String() string {
	base := filepath.Base(r.Path)
	id := base
	if name, err := generation.ParseName(base); err == nil {
		id = name.ID.String()
	}
	return id + ": " + strings.ReplaceAll(strings.TrimPrefix(r.Reason, r.Path+": "), r.Path, base)
}

// dirError returns err, the result of listing dir, for people, and without the
// path.
func dirError(dir string, err error) error {
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

// observe records what a poll found. It returns the desired generation of the
// poll before, and the files from the future that are new.
func (s *Store) observe(d desired, list []generation.Generation) (old desired, future []generation.Generation) {
	var paths []string
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range generation.Future(list) {
		if !slices.Contains(s.future, g.Files[0]) {
			future = append(future, g)
		}
		paths = append(paths, g.Files...)
	}
	old, s.future = s.desired, paths
	s.desired, s.newest, s.any = d, 0, len(list) > 0
	if s.any {
		s.newest = list[len(list)-1].ID
	}
	return old, future
}

// setDirErr records whether a poll could read the directory.
func (s *Store) setDirErr(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirErr = err
}

// setOpening records the generation that a poll is opening; nil: none.
func (s *Store) setOpening(id *generation.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening = id
}

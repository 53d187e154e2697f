package reader

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"syscall"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// A refusal is the reason why a file is not served.
type refusal struct {
	generation.Refusal
	reason   error
	kind     string
	outdated bool // the file has changed since; kept to compare kind
}

// refuse records that the file at path, with the given identity, is not served
// because of err. It reports whether the file or the kind of the error is new.
// Only the kind counts, because a file that is being written fails at another
// offset each time.
func (s *Store) refuse(path string, file fsx.Identity, err error) bool {
	r := refusal{reason: err, kind: errorKind(err)}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.refused[path]
	// Files that disagree may agree after another of them was replaced.
	r.Refusal = old.Again(file, isTransient(err) || errors.Is(err, generation.ErrDisagree), s.now())
	s.refused[path] = r
	return !found || old.kind != r.kind || !old.File().SameFile(file)
}

// refusals returns the refusals of files of g, in the order of its files.
func (s *Store) refusals(g generation.Generation) (paths []string, refusals []refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refused) == 0 {
		return nil, nil
	}
	for _, path := range g.Files {
		if r, found := s.refused[path]; found {
			paths, refusals = append(paths, path), append(refusals, r)
		}
	}
	return paths, refusals
}

// isWorthOpening reports whether g has all files that s needs, and none is refused
// for now.
func (s *Store) isWorthOpening(g generation.Generation) bool {
	if len(g.MissingOf(s.opts.Digits)) > 0 {
		return false
	}
	paths, refusals := s.refusals(g)
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil && refusals[i].Holds(fsx.IdentityOf(info), s.now()) {
			return false
		}
	}
	return true
}

// unservable returns why g is not servable as far as s knows without opening it;
// nil: it may be.
func (s *Store) unservable(g generation.Generation) error {
	if missing := g.MissingOf(s.opts.Digits); len(missing) > 0 {
		return &generation.IncompleteError{ID: g.ID, Shards: g.Shards, Missing: missing}
	}
	_, refusals := s.refusals(g)
	for _, r := range refusals {
		if !r.outdated {
			return fmt.Errorf("refused: %w", r.reason)
		}
	}
	return nil
}

// forgetReplaced drops the refusals of files that are gone or were replaced, and
// marks those of files that have changed.
func (s *Store) forgetReplaced(list []generation.Generation) {
	s.mu.Lock()
	refused := maps.Clone(s.refused)
	s.mu.Unlock()
	if len(refused) == 0 {
		return
	}
	exists := map[string]bool{}
	for _, g := range list {
		for _, path := range g.Files {
			exists[path] = true
		}
	}
	for path, r := range refused {
		info, err := os.Stat(path)
		if exists[path] && (err != nil || fsx.IdentityOf(info).Equal(r.File())) {
			continue
		}
		s.mu.Lock()
		switch {
		case s.refused[path].Refusal != r.Refusal: // refused again meanwhile
		case exists[path] && fsx.IdentityOf(info).SameFile(r.File()):
			r.outdated = true
			s.refused[path] = r
		default:
			delete(s.refused, path)
		}
		s.mu.Unlock()
	}
}

// reasonOf returns the text of err, by which a change of the reason is found. It
// does not name missing shards, which arrive one after another.
func reasonOf(err error) string {
	if errors.Is(err, generation.ErrIncomplete) {
		return generation.ErrIncomplete.Error()
	}
	return err.Error()
}

// errorKind returns a text that is the same for errors that differ in their
// values only.
func errorKind(err error) string {
	for _, kind := range [...]error{
		format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder,
		generation.ErrDisagree, generation.ErrMisnamed, fsx.ErrNotRegular, ErrFault,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

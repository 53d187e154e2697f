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
	reason, kind string
	outdated     bool // the file has changed since; kept to compare kind
}

// refuse records that the file at path, with the given identity, is not served
// because of err. It reports whether the file or the kind of the error is new.
// Only the kind counts, because a file that is being written fails at another
// offset each time.
func (s *Store) refuse(path string, file fsx.Identity, err error) bool {
	r := refusal{reason: err.Error(), kind: errorKind(err)}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, found := s.refused[path]
	r.Refusal = old.Again(file, isTransient(err), s.now())
	s.refused[path] = r
	return !found || old.kind != r.kind || !old.File().SameFile(file)
}

// isRefused reports whether opening the file at path again is pointless for now.
func (s *Store) isRefused(path string, file fsx.Identity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused[path].Holds(file, s.now())
}

// refusalError returns an error with the reason why the file at path is refused.
func (s *Store) refusalError(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, found := s.refused[path]; found && !r.outdated {
		return fmt.Errorf("refused: %s", r.reason)
	}
	return fmt.Errorf("%s: %w", path, generation.ErrAbsent) // removed since it was listed
}

// forgetReplaced drops the refusals of files that are gone or were replaced, and
// marks those of files that have changed.
func (s *Store) forgetReplaced(list []generation.Generation) {
	exists := map[string]bool{}
	for _, g := range list {
		exists[g.Files[0]] = true
	}
	s.mu.Lock()
	refused := maps.Clone(s.refused)
	s.mu.Unlock()
	for path, r := range refused {
		info, err := os.Stat(path)
		if exists[path] && (err != nil || fsx.IdentityOf(info).Equal(r.File())) {
			continue
		}
		s.mu.Lock()
		switch {
		case s.refused[path] != r: // refused again meanwhile
		case exists[path] && fsx.IdentityOf(info).SameFile(r.File()):
			r.outdated = true
			s.refused[path] = r
		default:
			delete(s.refused, path)
		}
		s.mu.Unlock()
	}
}

// errorKind returns a text that is the same for errors that differ in their
// values only.
func errorKind(err error) string {
	for _, kind := range [...]error{
		format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder,
		generation.ErrIncomplete, errSharded, generation.ErrDisagree, generation.ErrMisnamed, fsx.ErrNotRegular, ErrFault,
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

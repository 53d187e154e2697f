package reader

import (
	"context"
	"time"
)

// SetClock replaces the clock of s.
func SetClock(s *Store, now func() time.Time) { s.now = now }

// Warm calls warm.
func Warm(ctx context.Context, f *File) error { return f.warm(ctx) }

// Resolve calls resolve.
func Resolve(a Access, size int64) Access { return a.resolve(size) }

// ReopenError calls reopenError.
func ReopenError(err error) error { return reopenError(err) }

// LookupError returns err as an error of a lookup in the first file of g.
func LookupError(g *Generation, err error) error { return &lookupError{file: g.files[0], err: err} }

// WaitStandby waits until the standby of s, if there is one, is prepared or
// refused.
func WaitStandby(s *Store) {
	s.mu.Lock()
	b := s.standby
	s.mu.Unlock()
	if b != nil {
		<-b.done
	}
}

// Trained reports whether f has a model trained from its records.
func Trained(f *File) bool { return f.model.Load() != nil }

package updater

import (
	"maps"
	"os"
	"time"
)

// IgnoredExtensions and IgnoredNames are lists of names that are no data sets.
var IgnoredExtensions, IgnoredNames = ignoredExtensions, ignoredNames

// MinProgress is the number of bytes that a client must send in a stall timeout.
const MinProgress = minProgress

// SetHeaderTimeout sets the time to receive a header, or a short body. Call it
// before Serve.
func (s *Server) SetHeaderTimeout(d time.Duration) {
	s.http.ReadHeaderTimeout, s.http.ReadTimeout = d, d
}

// PollInbox polls the inbox once.
func (s *Server) PollInbox() error { return s.inbox.pollOnce() }

// StepInbox polls the inbox once and logs an error.
func (s *Server) StepInbox() { s.inbox.step() }

// BuildTaken builds a file that the inbox has taken.
func (s *Server) BuildTaken(name string) error { return s.inbox.build(place{buildingDir, name}) }

// Ignored returns the number of files that the latest poll ignored by their
// names.
func (s *Server) Ignored() int { return s.inbox.counts().Ignored }

// InboxCounts returns the numbers of files after the latest poll, and of errors.
func (s *Server) InboxCounts() (waiting, failed, stuck int, errors uint64) {
	st := s.inbox.counts()
	return st.Waiting, st.Failed, st.Stuck, st.errors
}

// SetInboxClock replaces the clock of the inbox.
func (s *Server) SetInboxClock(now func() time.Time) { s.inbox.now = now }

// SetInboxLease replaces the check whether a process has a file open for
// writing.
func (s *Server) SetInboxLease(check func(*os.File) error) { s.inbox.lease = check }

// SetRefusalPause replaces the clock of the pause before a client learns that its
// credentials are wrong. Call it before Serve.
func (s *Server) SetRefusalPause(after func() <-chan time.Time) { s.refusals.after = after }

// AcceptErrors returns the number of failed attempts to accept a connection.
func (s *Server) AcceptErrors() uint64 { return s.acceptErrors.Load() }

// Builds returns the number of finished builds by result.
func (s *Server) Builds() map[string]uint64 {
	s.pipeline.counters.mu.Lock()
	defer s.pipeline.counters.mu.Unlock()
	return maps.Clone(s.pipeline.counters.builds)
}

package updater

import "time"

// MinProgress is the number of bytes that a client must send in a stall timeout.
const MinProgress = minProgress

// SetHeaderTimeout sets the time to receive a header. Call it before Serve.
func (s *Server) SetHeaderTimeout(d time.Duration) { s.http.ReadHeaderTimeout = d }

// PollInbox polls the inbox once.
func (s *Server) PollInbox() error { return s.inbox.pollOnce() }

// StepInbox polls the inbox once and logs an error.
func (s *Server) StepInbox() { s.inbox.step() }

// BuildTaken builds a file that the inbox has taken.
func (s *Server) BuildTaken(name string) error { return s.inbox.build(name) }

// InboxFailed returns the number of rejected files after the latest poll.
func (s *Server) InboxFailed() int { return s.inbox.counts().Failed }

package updater

import "time"

// SetHeaderTimeout is for before Serve.
func (s *Server) SetHeaderTimeout(d time.Duration) { s.http.ReadHeaderTimeout = d }

// MinProgress is how many bytes a client has to send in each StallTimeout.
const MinProgress = minProgress

// Look looks into the inbox once.
func (s *Server) Look() error { return s.inbox.look() }

// Build builds a file that was taken.
func (s *Server) Build(name string) error { return s.inbox.build(name) }

// Step looks into the inbox once, and logs what comes of it.
func (s *Server) Step() { s.inbox.step() }

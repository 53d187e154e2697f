package updater

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"promostore/openapi"
	"promostore/web"
)

// A status is the JSON body of GET /status. It contains no row data. Without its
// privateStatus and the Details, it names no client, file or person.
type status struct {
	web.Status      // Swaps counts the generations that the updater published
	Running    bool `json:"running"` // a build is running
	Stopping   bool `json:"stopping"`
	*privateStatus
}

// privateStatus is the part of a status for clients with the required
// credentials.
type privateStatus struct {
	Building *progress    `json:"building"` // null: no build is running
	Builds   []result     `json:"builds"`   // finished builds, newest first
	Inbox    *inboxStatus `json:"inbox"`    // null: no inbox
}

// status answers with the state of the directory and, if the client has the
// required credentials, with the builds and the inbox.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	details, ok := s.details(w, r)
	if !ok {
		return
	}
	st := s.publicStatus()
	if details {
		st.privateStatus = s.privateStatus()
	} else {
		st.Status = st.Public()
	}
	reply(w, http.StatusOK, st)
}

// details reports whether the client may see private parts of an answer: it has the
// required credentials, or none are required. It rejects wrong credentials, which are
// a way to try tokens, and reports ok false.
func (s *Server) details(w http.ResponseWriter, r *http.Request) (details, ok bool) {
	if !s.auth.offers(r) {
		return false, true
	}
	if err := s.auth.checkCredentials(r); err != nil {
		s.refusals.refuse(r, err)
		s.reject(w, err, nil)
		return false, false
	}
	return true, true
}

func (s *Server) privateStatus() *privateStatus {
	st := &privateStatus{Builds: s.pipeline.builds.latest()}
	if p, ok := s.pipeline.builds.current(); ok {
		st.Building = &p
	}
	if s.inbox != nil {
		in := s.inbox.counts()
		st.Inbox = &in
	}
	return st
}

// publicStatus returns a status without its privateStatus.
func (s *Server) publicStatus() status {
	found := s.pipeline.checker.Status(s.opts.Build.Dir)
	st := status{Status: web.NewStatus(s.opts.Version, s.started, &found), Stopping: s.draining.Load()}
	st.Swaps = s.pipeline.counters.published()
	_, st.Running = s.pipeline.builds.current()
	return st
}

// openapi describes all requests as an OpenAPI document.
func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openapi.Document()) // it fails only if the client has gone
}

// health is the JSON body of /healthz and /readyz.
type health struct {
	Status string `json:"status"`
}

// healthz reports that the process handles requests.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, health{"ok"})
}

// readyz reports whether the updater accepts uploads and may write to its directories.
// A build by another process does not count, because it ends. The free space does
// not count, because a small upload may fit, and because a proxy would withhold
// rollbacks and the status as well. The reason names no path.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.checkReady(); err != nil {
		w.Header().Set("Retry-After", "30")
		reply(w, http.StatusServiceUnavailable, problem{Error: err.Error()})
		return
	}
	reply(w, http.StatusOK, health{"ready"})
}

func (s *Server) checkReady() error {
	if s.draining.Load() {
		return errClosed
	}
	if err := unix.Access(s.opts.Build.Dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("the directory of the generations is not writable: %w", err)
	}
	if s.opts.Build.TempDir == "" {
		return nil
	}
	if err := unix.Access(s.opts.Build.TempDir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("the directory of temporary files is not writable: %w", err)
	}
	return nil
}

// Alive blocks if the server is deadlocked or its file system hangs. It returns
// an error if the directory of the generations is not accessible.
func (s *Server) Alive(context.Context) error {
	s.pipeline.builds.current()
	_, err := os.Stat(s.opts.Build.Dir)
	return err
}

package updater

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sys/unix"

	"promostore/format/generation"
	"promostore/web"
)

// A publicStatus is the JSON body of GET /status for a client without the
// required credentials. It names no client, file or person.
type publicStatus struct {
	Running  bool   `json:"running"` // a build is running
	Live     string `json:"live"`    // generation; empty: none
	Pinned   string `json:"pinned"`  // generation; empty: none
	Stopping bool   `json:"stopping"`
}

// status is the JSON body of GET /status. It contains no row data.
type status struct {
	Building *progress `json:"building"` // null: no build is running
	Builds   []result  `json:"builds"`   // finished builds, newest first
	Live     string    `json:"live"`     // generation; empty: none
	Pinned   string    `json:"pinned"`   // generation; empty: none
	web.PinStatus
	Future   []string     `json:"future,omitempty"` // generations more than an hour ahead of the clock
	Inbox    *inboxStatus `json:"inbox"`            // null: no inbox
	Stopping bool         `json:"stopping"`
}

// status answers with the running build, the finished builds, the live
// generation and the inbox. Without the required credentials it answers with a
// publicStatus.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	if !s.auth.offers(r) {
		st := s.fullStatus()
		reply(w, http.StatusOK, publicStatus{st.Building != nil, st.Live, st.Pinned, st.Stopping})
		return
	}
	if err := s.auth.checkCredentials(r); err != nil { // a way to try tokens
		s.refusals.refuse(r, err)
		s.reject(w, err, nil)
		return
	}
	reply(w, http.StatusOK, s.fullStatus())
}

func (s *Server) fullStatus() status {
	st := status{Builds: s.pipeline.history.latest(), Stopping: s.draining.Load()}
	if p, ok := s.pipeline.history.current(); ok {
		st.Building = &p
	}
	if g, _, err := s.pipeline.checker.Live(s.opts.Build.Dir); err == nil {
		st.Live = g.ID.String()
	}
	if list, err := generation.List(s.opts.Build.Dir); err == nil {
		for _, g := range generation.Future(list) {
			st.Future = append(st.Future, g.ID.String())
		}
	}
	pin, err := generation.ReadPin(s.opts.Build.Dir)
	if pin.Active {
		st.Pinned = pin.ID.String()
	}
	st.PinStatus = web.PinStatusOf(pin, err)
	if s.inbox != nil {
		in := s.inbox.counts()
		st.Inbox = &in
	}
	return st
}

// health is the JSON body of /healthz and /readyz.
type health struct {
	Status string `json:"status"`
}

// healthz reports that the process handles requests.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, health{"ok"})
}

// readyz reports whether an upload could be published. A build by another
// process does not count, because it ends.
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
	dirs := []string{s.opts.Build.Dir}
	if s.opts.Build.TempDir != "" {
		dirs = append(dirs, s.opts.Build.TempDir)
	}
	for _, dir := range dirs {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("%s is not writable: %w", dir, err)
		}
	}
	return nil
}

// Alive blocks if the server is deadlocked or its file system hangs. It returns
// an error if the directory of the generations is not accessible.
func (s *Server) Alive(context.Context) error {
	s.pipeline.history.current()
	_, err := os.Stat(s.opts.Build.Dir)
	return err
}

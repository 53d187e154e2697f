package updater

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format/generation"
)

// status is the answer to GET /status. It is for everybody, so it holds nothing
// of a table.
type status struct {
	Building *running     `json:"building"` // null: none
	Builds   []done       `json:"builds"`   // that are done, newest first
	Live     string       `json:"live"`     // the generation; empty if there is none
	Pinned   string       `json:"pinned"`   // the generation; empty if none is
	By       string       `json:"by,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	At       *time.Time   `json:"at,omitempty"`        // of the pin, or of its removal
	PinError string       `json:"pin_error,omitempty"` // there is a pin that cannot be read
	Inbox    *inboxStatus `json:"inbox"`               // null: none
	Stopping bool         `json:"stopping"`
}

// status answers with the build that runs, those that are done, and what is live.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	st := status{Builds: s.work.done(), Stopping: s.draining.Load()}
	if r, ok := s.work.progress(); ok {
		st.Building = &r
	}
	if g, _, err := s.checker.Live(s.opts.Build.Dir); err == nil {
		st.Live = g.ID.String()
	}
	st.setPin(generation.ReadPin(s.opts.Build.Dir))
	if s.inbox != nil {
		n := s.inbox.counts()
		st.Inbox = &n
	}
	reply(w, http.StatusOK, st)
}

func (st *status) setPin(pin generation.Pin, err error) {
	if err != nil {
		st.PinError = err.Error()
		return
	}
	st.By, st.Reason = pin.By, pin.Reason
	if pin.Active {
		st.Pinned = pin.ID.String()
	}
	if !pin.At.IsZero() {
		st.At = &pin.At
	}
}

type health struct {
	Status string `json:"status"`
}

// healthz tells that the process lives.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, health{"ok"})
}

// readyz tells whether an upload could be published. That another process
// builds now is no reason to say no: it will be done.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.ready(); err != nil {
		w.Header().Set("Retry-After", "30")
		fail(w, http.StatusServiceUnavailable, problem{Error: err.Error()})
		return
	}
	reply(w, http.StatusOK, health{"ready"})
}

func (s *Server) ready() error {
	if s.draining.Load() {
		return errClosed
	}
	dirs := []string{s.opts.Build.Dir}
	if s.opts.Build.TempDir != "" {
		dirs = append(dirs, s.opts.Build.TempDir)
	}
	for _, dir := range dirs {
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("%s cannot be written to: %w", dir, err)
		}
	}
	return nil
}

// Alive is why the server is stuck, or nil: its locks are free, and its
// directory answers.
func (s *Server) Alive(context.Context) error {
	s.work.progress()
	s.work.done()
	_, err := os.Stat(s.opts.Build.Dir)
	return err
}

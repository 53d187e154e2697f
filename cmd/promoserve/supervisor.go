package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"promostore/cmd/internal/notify"
	"promostore/format/generation"
	"promostore/reader"
)

// A supervisor reports the state of the server to the service manager. The
// server is ready when a generation is live or the directory is known to have
// none. It is safe for concurrent use.
type supervisor struct {
	manager *notify.Manager

	stopping atomic.Bool

	mu      sync.Mutex // guards the fields below; held during a report, which keeps reports in order
	ready   bool       // Ready has been reported
	live    string     // ID of the live generation, or empty
	problem string     // last problem since it became live
}

// observe reports a change of generations.
func (s *supervisor) observe(e reader.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case reader.EventLive:
		s.live, s.problem = e.ID.String(), ""
	case reader.EventRefused:
		s.problem = fmt.Sprintf("generation %s refused: %v", e.ID, e.Err)
	case reader.EventFault:
		s.problem = fmt.Sprintf("generation %s demoted: %v", e.ID, e.Err)
		if s.live == e.ID.String() {
			s.live = ""
		}
	case reader.EventDirUnreadable:
		s.problem = fmt.Sprintf("directory cannot be read: %v", e.Err)
	case reader.EventDirReadable:
		s.problem = ""
	case reader.EventDeleted:
		s.problem = fmt.Sprintf("generation file deleted: %v", e.Err)
	case reader.EventRestored:
		s.problem = ""
	case reader.EventNone:
		if s.ready || !errors.Is(e.Err, generation.ErrEmpty) {
			return
		}
		s.problem = ""
		s.reportLocked(true)
		return
	default:
		return
	}
	s.reportLocked(s.live != "")
}

// reportLocked reports the status and, the first time that the server is ready,
// its readiness.
func (s *supervisor) reportLocked(ready bool) {
	switch {
	case s.stopping.Load():
	case ready && !s.ready:
		s.ready = true
		s.manager.Ready(s.statusLocked())
	default:
		s.manager.Status(s.statusLocked())
	}
}

func (s *supervisor) statusLocked() string {
	status := "no generation is live"
	if s.live != "" {
		status = "serving generation " + s.live
	}
	if s.problem != "" {
		status += "; " + s.problem
	}
	return status
}

// reload calls f between reports that the configuration is being read again.
func (s *supervisor) reload(f func()) {
	s.mu.Lock()
	ready := s.ready // a server that is not ready must not report Ready afterward
	if ready {
		s.manager.Reloading("reloading")
	}
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	if ready {
		s.manager.Ready(s.statusLocked())
	}
}

// stop reports that the server is about to end, and the reason.
func (s *supervisor) stop(why string) {
	s.stopping.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manager.Stopping(why)
}

// watch reports to the watchdog while the server answers on its own port, until
// ctx ends. The watchdog then ends a process that accepts no connection or answers
// no request. watch does not check generations: verification may take any time, and a
// server with an old generation is better than none.
func (s *supervisor) watch(ctx context.Context, address string, tlsOnly bool) {
	p := localProbe(address, "/healthz", tlsOnly)
	s.manager.Watch(ctx, func(ctx context.Context) error {
		if s.stopping.Load() {
			return nil // shutdown has its own deadlines and closes the listener
		}
		code, body, err := p.do(ctx)
		// A server at its connection limit is alive. It answers 429 or 503 in
		// HTTP, before a TLS handshake. Clients that exhaust the limit must not
		// be able to cause a restart.
		switch {
		case errors.Is(err, errPlainHTTP):
			return nil
		case err != nil:
			return err
		case code == http.StatusOK, code == http.StatusTooManyRequests, code == http.StatusServiceUnavailable:
			return nil
		}
		return fmt.Errorf("%s: %d %s", p.url, code, body)
	})
}

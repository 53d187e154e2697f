package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"promostore/cmd/internal/notify"
	"promostore/format/generation"
	"promostore/reader"
)

// A supervisor is told what becomes of the server: that it is ready once a
// generation is live or there is known to be none, how it is, and for the
// watchdog that it answers. Safe for concurrent use.
type supervisor struct {
	manager *notify.Manager

	stopping atomic.Bool

	mu      sync.Mutex // guards what follows; held while the manager is told, so that it hears things in their order
	known   bool       // a generation is live or there was none, and the manager knows
	live    string     // the generation
	problem string     // since it went live
}

// observe follows what happens to generations.
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
	default:
		return
	}
	s.tellLocked(s.live != "")
}

// tellLocked tells the status, and that the server is ready if it is so for
// the first time.
func (s *supervisor) tellLocked(ready bool) {
	switch {
	case s.stopping.Load():
	case ready && !s.known:
		s.known = true
		s.manager.Ready(s.statusLocked())
	default:
		s.manager.Status(s.statusLocked())
	}
}

func (s *supervisor) statusLocked() string {
	status := "no generation yet"
	if s.live != "" {
		status = "serving generation " + s.live
	}
	if s.problem != "" {
		status += "; " + s.problem
	}
	return status
}

// awaitEmpty looks every interval whether there is no generation in dir, until
// the server is ready, be it by that, or ctx ends. A directory that cannot be
// read is not known to be empty.
func (s *supervisor) awaitEmpty(ctx context.Context, dir string, interval time.Duration) {
	if !s.manager.Listens() {
		return
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		list, err := generation.List(dir)
		if s.decided(len(list) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist))) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// decided reports whether the server has been ready once. It is if empty.
func (s *supervisor) decided(empty bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if empty && !s.known {
		s.problem = ""
		s.tellLocked(true)
	}
	return s.known
}

// reload calls f, during which the configuration is read again.
func (s *supervisor) reload(f func()) {
	s.mu.Lock()
	known := s.known // else Ready would say too much
	if known {
		s.manager.Reloading("reloading")
	}
	s.mu.Unlock()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	if known {
		s.manager.Ready(s.statusLocked())
	}
}

// stop says that the server is about to end, and why.
func (s *supervisor) stop(why string) {
	s.stopping.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.manager.Stopping(why)
}

// watch tells the watchdog that the server answers on its own port, until ctx
// ends. What it catches is a process that takes no connections or answers
// nothing any more. It does not look at generations: verifying one may take
// any time, and a server with an old one is better than none.
func (s *supervisor) watch(ctx context.Context, address string, tlsOnly bool) {
	p := localProbe(address, "/healthz", tlsOnly)
	s.manager.Watch(ctx, func(ctx context.Context) error {
		if s.stopping.Load() {
			return nil // has deadlines of its own, and listens no more in the end
		}
		code, body, err := p.ask(ctx)
		// At its limits of connections it lives, and says so before it listens
		// to TLS. Who uses them up must not have it restarted.
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

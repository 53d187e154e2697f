package updater

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A hookResult is what became of a command after publishing.
type hookResult struct {
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// hooks runs the command after each generation that was published, one after
// the other, while nobody waits.
type hooks struct {
	s *Server

	mu     sync.Mutex // guards what follows
	queue  []*done
	closed bool
	wake   chan struct{} // has an element when run has something to look at
}

func newHooks(s *Server) *hooks { return &hooks{s: s, wake: make(chan struct{}, 1)} }

func (h *hooks) add(d *done) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, d)
	h.nudge()
}

// close makes run return once nothing is left to do.
func (h *hooks) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.nudge()
}

func (h *hooks) nudge() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *hooks) next() (d *done, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return nil, h.closed
	}
	d, h.queue = h.queue[0], h.queue[1:]
	return d, false
}

func (h *hooks) run() {
	for {
		d, closed := h.next()
		switch {
		case d != nil:
			h.s.work.hooked(d, h.s.runHook(d))
		case closed:
			return
		default:
			<-h.wake
		}
	}
}

// runHook runs the command for one generation.
func (s *Server) runHook(d *done) hookResult {
	began := time.Now()
	log := s.log.With("generation", d.Summary.Generation)
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.opts.HookTimeout, fmt.Errorf("it took longer than %s", s.opts.HookTimeout))
	defer cancel()
	out := &lineLogger{log: log}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", s.opts.Hook)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(),
		"PROMO_GENERATION="+d.Summary.Generation,
		"PROMO_FILE="+absolute(d.Summary.File),
		fmt.Sprintf("PROMO_RECORDS=%d", d.Summary.Records),
		"PROMO_DATA="+absolute(s.opts.Build.Dir),
	)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it has started
	cmd.WaitDelay = time.Second                                                          // for what has left its group
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	out.flush()
	s.figures.hookRuns.Add(1)
	r := hookResult{Seconds: time.Since(began).Seconds()}
	if err != nil {
		s.figures.hookFailures.Add(1)
		r.Error = err.Error()
		log.Error("command after publishing failed", "error", err)
		return r
	}
	log.Info("command after publishing done", "seconds", r.Seconds)
	return r
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// maxLine is how much of a line of a command is logged at once, in bytes.
const maxLine = 1 << 10

// A lineLogger logs what a command prints, line by line.
type lineLogger struct {
	log  *slog.Logger
	line []byte // that has no end yet
}

func (l *lineLogger) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		end := n >= 0
		if !end {
			n = len(rest)
		}
		n = min(n, maxLine-len(l.line))
		l.line = append(l.line, rest[:n]...)
		rest = rest[n:]
		switch {
		case end && rest[0] == '\n':
			rest = rest[1:]
			l.flush()
		case len(l.line) == maxLine:
			l.flush()
		}
	}
	return len(p), nil
}

func (l *lineLogger) flush() {
	if len(l.line) > 0 {
		l.log.Info("command after publishing", "output", string(l.line))
		l.line = l.line[:0]
	}
}

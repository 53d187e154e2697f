package updater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A hookResult describes one run of the command after publishing.
type hookResult struct {
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// hooks runs the command after publishing, once per published generation and
// one run at a time. Neither an upload nor the next build waits for it.
type hooks struct {
	command string        // for the shell; empty: none
	timeout time.Duration // of one run
	dir     string        // of the generations
	log     *slog.Logger
	ctx     context.Context
	builds  *buildLog

	numRuns, numFailures atomic.Uint64

	wake   chan struct{} // capacity 1; wakes run after a change of queue or closed
	mu     sync.Mutex    // guards queue and closed
	queue  []*result
	closed bool
}

// add queues the command for r.
func (h *hooks) add(r *result) {
	if h.command == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, r)
	h.trigger()
}

// close makes run return after the queued commands have ended.
func (h *hooks) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.trigger()
}

func (h *hooks) trigger() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// next removes the oldest result from the queue. It returns nil if the queue is
// empty, and then whether the queue is closed.
func (h *hooks) next() (r *result, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) == 0 {
		return nil, h.closed
	}
	r, h.queue = h.queue[0], h.queue[1:]
	return r, false
}

// run executes the queued commands until close.
func (h *hooks) run() {
	for {
		r, closed := h.next()
		switch {
		case r != nil:
			h.builds.setHook(r, h.execute(r))
		case closed:
			return
		default:
			<-h.wake
		}
	}
}

// execute runs the command for one generation.
func (h *hooks) execute(r *result) hookResult {
	began := time.Now()
	log := h.log.With("generation", r.Summary.Generation)
	ctx, cancel := context.WithTimeoutCause(h.ctx, h.timeout, fmt.Errorf("still running after %s", h.timeout))
	defer cancel()
	out := &lineLogger{log: log}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", h.command)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(),
		"PROMO_GENERATION="+r.Summary.Generation,
		"PROMO_FILE="+absolute(r.Summary.File),
		fmt.Sprintf("PROMO_SHARDS=%d", r.Summary.Shards),
		fmt.Sprintf("PROMO_RECORDS=%d", r.Summary.Records),
		"PROMO_DATA="+absolute(h.dir),
	)
	// A process group, so that the processes that the command started die too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a process that left the group may hold the output open
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it succeeded; a process that it started keeps the output open
		err = nil
	}
	out.flush()
	h.numRuns.Add(1)
	result := hookResult{Seconds: time.Since(began).Seconds()}
	if err != nil {
		h.numFailures.Add(1)
		result.Error = err.Error()
		log.Error("command after publishing failed", "error", err)
		return result
	}
	log.Info("command after publishing done", "seconds", result.Seconds)
	return result
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

const (
	maxLine  = 1 << 10 // bytes of a line that are logged at once
	maxLines = 1000    // lines of one run that are logged
)

// A lineLogger logs the output of a command line by line, up to maxLines. A
// command could otherwise fill the log with 50 MB/s.
type lineLogger struct {
	log   *slog.Logger
	line  []byte // the part of a line that has come so far
	lines int    // logged so far
}

func (l *lineLogger) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && l.lines < maxLines; {
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
		if l.lines++; l.lines == maxLines {
			l.log.Warn("command after publishing: the rest of its output is not logged", "lines", maxLines)
		}
	}
}

package web

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// The pause between two attempts to accept doubles from minAcceptPause to
	// maxAcceptPause.
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second

	// Failures less than shortageGap apart belong to one shortage, which is
	// logged once. During a shortage some attempts succeed: each connection that
	// closes frees a descriptor.
	shortageGap = time.Minute
)

// A RetryListener retries Accept while file descriptors or memory have run out,
// and counts and logs it: fasthttp stops serving at such an error, and net/http
// does not count it. It does not wrap connections.
// Only one goroutine may call Accept.
type RetryListener struct {
	net.Listener
	shortages *atomic.Uint64 // counts the failed attempts
	log       *slog.Logger

	lastShortage time.Time

	closing sync.Once
	closed  chan struct{}
}

// NewRetryListener returns a listener for ln that counts failed attempts in
// shortages.
func NewRetryListener(ln net.Listener, shortages *atomic.Uint64, log *slog.Logger) *RetryListener {
	return &RetryListener{Listener: ln, shortages: shortages, log: log, closed: make(chan struct{})}
}

// Accept waits for a connection.
func (l *RetryListener) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		c, err := l.Listener.Accept()
		if err == nil || !isShortage(err) {
			return c, err
		}
		l.shortages.Add(1)
		if time.Since(l.lastShortage) > shortageGap {
			l.log.Error("connections wait to be accepted", "error", err)
		}
		l.lastShortage = time.Now()
		select {
		case <-time.After(pause):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close also ends an Accept that waits for its next attempt.
func (l *RetryListener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// isShortage reports whether Accept may succeed later.
func isShortage(err error) bool {
	for _, target := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

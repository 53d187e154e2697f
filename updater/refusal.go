package updater

import (
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// refusalPause is the time until a client without valid credentials gets its
	// answer, so that a connection tries one token a second.
	refusalPause = time.Second

	// refusalLogGap is the least time between two log lines about refused
	// clients, because anyone can cause them.
	refusalLogGap = time.Second
)

// refusals counts, logs and slows down clients that may not upload. Safe for
// concurrent use.
type refusals struct {
	log     *slog.Logger
	closing <-chan struct{}         // ends pauses
	after   func() <-chan time.Time // of a pause

	total atomic.Uint64

	mu       sync.Mutex // guards the fields below
	logged   time.Time  // zero: never
	unlogged uint64     // since logged
}

// refuse records that r was refused because of err, and pauses if r could be an
// attempt to find a token.
func (f *refusals) refuse(r *http.Request, err error) {
	f.total.Add(1)
	f.record(r, err)
	if code, _ := statusOf(err); code != http.StatusUnauthorized {
		return
	}
	select {
	case <-f.after():
	case <-f.closing:
	}
}

// record logs a refusal, unless another one was logged just before.
func (f *refusals) record(r *http.Request, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.logged) >= refusalLogGap {
		f.log.Warn("client refused", "client", r.RemoteAddr, "path", r.URL.Path, "error", err, "unlogged", f.unlogged)
		f.logged, f.unlogged = now, 0
		return
	}
	f.unlogged++
}

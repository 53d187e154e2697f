package httpd

import (
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/internal/escape"
)

const (
	// maxSlowLines bounds the slow requests that are logged in a second, because
	// requests wait for the log.
	maxSlowLines = 100

	maxLoggedURI = 256 // bytes
)

// A slowLog logs requests that take long. It is safe for concurrent use.
type slowLog struct {
	over atomic.Int64 // nanoseconds; MaxInt64: log nothing
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex // guards the fields below
	second  time.Time  // start of the current second
	lines   int        // logged in the current second
	omitted int        // not logged since the last line
}

// SetLogSlow makes the server log requests whose response is ready after over or
// later. A negative duration switches the log off, which is the default.
func (s *Server) SetLogSlow(over time.Duration) {
	if over < 0 {
		over = math.MaxInt64
	}
	s.slow.over.Store(int64(over))
}

// LogSlow returns the duration of SetLogSlow. It is negative if the log is off.
func (s *Server) LogSlow() time.Duration {
	if over := s.slow.over.Load(); over != math.MaxInt64 {
		return time.Duration(over)
	}
	return -1
}

// isSlow reports whether a request of this duration is logged. It is inlined.
func (l *slowLog) isSlow(took time.Duration) bool { return int64(took) >= l.over.Load() }

// request logs a request that a handler has answered, and its duration.
func (l *slowLog) request(ctx *fasthttp.RequestCtx, took time.Duration) {
	uri := ctx.RequestURI()
	l.line(ctx.RemoteAddr(), took, ctx.Response.StatusCode(),
		"method", escape.Name(string(ctx.Method())), "uri", escape.Name(string(uri[:min(len(uri), maxLoggedURI)])))
}

// rejected logs a request that could not be read.
func (l *slowLog) rejected(client net.Addr, took time.Duration, code int) { l.line(client, took, code) }

func (l *slowLog) line(client net.Addr, took time.Duration, code int, details ...any) {
	omitted, ok := l.enter()
	if !ok {
		return
	}
	args := append([]any{"client", client.String(), "code", code, "seconds", took.Seconds()}, details...)
	if omitted > 0 {
		args = append(args, "omitted", omitted)
	}
	l.log.Warn("slow request", args...)
}

// enter reports whether another line may be logged, and the number of those
// omitted before it.
func (l *slowLog) enter() (omitted int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.second) >= time.Second || now.Before(l.second) {
		l.second, l.lines = now, 0
	}
	if l.lines == maxSlowLines {
		l.omitted++
		return 0, false
	}
	l.lines++
	omitted, l.omitted = l.omitted, 0
	return omitted, true
}

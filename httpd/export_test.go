package httpd

import (
	"errors"
	"net"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"promostore/web"
)

// Handle calls the handler of every request.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) { s.handle(ctx) }

// ServeConn answers the requests of one connection until it ends.
func (s *Server) ServeConn(c net.Conn) error { return s.fast.ServeConn(c) }

// NewFastServer returns a fasthttp server with the limits of this package.
func NewFastServer(handler fasthttp.RequestHandler) *fasthttp.Server { return newFastServer(handler) }

// AppendETag appends the entity tag of body.
func AppendETag(dst, body []byte) []byte { return appendETag(dst, body) }

// MatchesETag reports whether an If-None-Match list matches tag.
func MatchesETag(list, tag []byte) bool { return matchesETag(list, tag) }

// NewListener returns a listener for http and https. It calls failed if a
// handshake fails.
func NewListener(ln net.Listener, c *web.Certificates, failed func(net.Conn, error)) net.Listener {
	return &listener{Listener: ln, config: c.Config(), writeTimeout: writeTimeout, failed: failed}
}

// Limits of every server.
const (
	ReadTimeout  = readTimeout
	WriteTimeout = writeTimeout
	IdleTimeout  = idleTimeout
	MaxLookupIDs = maxLookupIDs
	MaxIDLen     = maxIDLen
	LookupMemory = maxLookupMemory
	MaxWaiting   = maxWaiting

	MinLookupMemory = minLookupMemory
	MaxLinger       = maxLinger
	MaxSlowLines    = maxSlowLines
	MaxLingering    = maxLingering
	LookupsPerProc  = lookupsPerProc
)

// SetReadTimeout changes the read timeout. Call it before Serve.
func (s *Server) SetReadTimeout(d time.Duration) { s.fast.ReadTimeout = d }

// SetWriteTimeout changes the write timeout. Call it before Serve.
func (s *Server) SetWriteTimeout(d time.Duration) { s.fast.WriteTimeout = d }

// SetLingerTimeout changes how long a client may go on sending after an early
// answer. Call it before Serve.
func (s *Server) SetLingerTimeout(d time.Duration) { s.lingerTimeout = d }

// SetLogClock changes the clock of the log of slow requests.
func (s *Server) SetLogClock(now func() time.Time) { s.slow.now = now }

// SetLookupWait changes how long a lookup waits for others. Call it before the
// first request.
func (s *Server) SetLookupWait(d time.Duration) { s.admission.wait = d }

// Concurrency returns the maximum number of connections.
func (s *Server) Concurrency() int { return s.fast.Concurrency }

// MetricsGap is the distance in bytes between the fields of a Server that
// every request reads and those that it writes.
const MetricsGap = unsafe.Offsetof(Server{}.metrics) + unsafe.Offsetof(metrics{}.shards) -
	unsafe.Offsetof(Server{}.fast) - unsafe.Sizeof(Server{}.fast)

// ParseLookup returns the IDs of a query, decoded by encoding/json.
func ParseLookup(body []byte) ([]string, error) { return parseLookup(body) }

// AppendIDs appends the IDs of a plain query. For any other query plain is
// false.
func AppendIDs(ids [][]byte, body []byte) (_ [][]byte, plain bool, err error) {
	ids, err = appendIDs(ids, body)
	return ids, !errors.Is(err, errNotPlain), err
}

// Parse parses a query like a lookup.
func Parse(body []byte) error {
	var b batch
	return b.parse(body)
}

// RecordMinutes ends a minute of the activity with each tick. Call it before Serve.
func (s *Server) RecordMinutes(ticks <-chan time.Time) { s.minutes = ticks }

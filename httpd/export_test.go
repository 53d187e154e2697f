package httpd

import (
	"net"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"promostore/web"
)

// Handle is what the server calls for every request.
func (s *Server) Handle(ctx *fasthttp.RequestCtx) { s.handle(ctx) }

// ServeConn answers on one connection until it ends.
func (s *Server) ServeConn(c net.Conn) error { return s.fast.ServeConn(c) }

// NewFastServer has the limits of every server of this package.
func NewFastServer(handler fasthttp.RequestHandler) *fasthttp.Server { return newFastServer(handler) }

// AppendETag and MatchesETag are the two sides of a conditional request.
func AppendETag(dst, body []byte) []byte { return appendETag(dst, body) }
func MatchesETag(list, tag []byte) bool  { return matchesETag(list, tag) }

// NewSniffListener takes http and https on ln. failed hears of handshakes.
func NewSniffListener(ln net.Listener, c *web.Certificates, failed func(net.Conn, error)) net.Listener {
	return &sniffListener{Listener: ln, config: c.Config(), writeTimeout: writeTimeout, failed: failed}
}

// NewDeadlineConn is a connection whose deadlines may come DeadlineSlack early.
func NewDeadlineConn(c net.Conn) net.Conn { return &deadlineConn{Conn: c} }

// Limits of every server.
const (
	DeadlineSlack = deadlineSlack
	ReadTimeout   = readTimeout
	WriteTimeout  = writeTimeout
	IdleTimeout   = idleTimeout
)

// SetReadTimeout shortens it, before Serve.
func (s *Server) SetReadTimeout(d time.Duration) { s.fast.ReadTimeout = d }

// SetWriteTimeout shortens it, before Serve.
func (s *Server) SetWriteTimeout(d time.Duration) { s.fast.WriteTimeout = d }

// Concurrency is how many connections there may be.
func (s *Server) Concurrency() int { return s.fast.Concurrency }

// FiguresGap is the bytes between what every request reads of a Server and
// what it writes.
const FiguresGap = unsafe.Offsetof(Server{}.metrics) + unsafe.Offsetof(metrics{}.shards) -
	unsafe.Offsetof(Server{}.fast) - unsafe.Sizeof(Server{}.fast)

const MaxLookupIDs = maxLookupIDs

// ParseLookup is the ids of a query, by package json.
func ParseLookup(body []byte) ([]string, error) { return parseLookup(body) }

// AppendIDs appends the ids of a plain query. ok tells whether it is one.
func AppendIDs(ids [][]byte, body []byte) (_ [][]byte, ok bool) { return appendIDs(ids, body) }

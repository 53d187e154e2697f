package httpd

import (
	"net"

	"github.com/valyala/fasthttp"
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

// NewSniffListener takes http and https on ln.
func NewSniffListener(ln net.Listener, c *Certificates) net.Listener {
	return &sniffListener{ln, c.config(), false}
}

const MaxLookupIDs = maxLookupIDs

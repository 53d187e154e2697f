package httpd

import (
	"encoding/json"
	"errors"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/reader"
)

// Header names and values in the form in which fasthttp neither copies nor
// normalises them.
var (
	headerAcceptEncoding = []byte("Accept-Encoding")
	headerAllow          = []byte("Allow")
	headerContentType    = []byte("Content-Type")
	headerETag           = []byte("ETag")
	headerGeneration     = []byte("X-Promotions-Generation")
	headerIfNoneMatch    = []byte("If-None-Match")
	headerRetryAfter     = []byte("Retry-After")

	typeJSON         = []byte("application/json")
	encodingIdentity = []byte("identity")

	// A generation appears or falls back within about one poll.
	retryAfter = []byte("1")
)

// fail answers with an error. reason is plain text.
func fail(ctx *fasthttp.RequestCtx, code int, reason string) {
	ctx.SetStatusCode(code)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	text, err := json.Marshal(struct {
		Error string `json:"error"`
	}{reason})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	ctx.Response.SetBody(text)
}

// notFound is fail for the one error that is not rare: it does not allocate.
func notFound(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(fasthttp.StatusNotFound)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"error":"promotion not found"}`)
}

func unavailable(ctx *fasthttp.RequestCtx, reason string) {
	ctx.Response.Header.SetCanonical(headerRetryAfter, retryAfter)
	fail(ctx, fasthttp.StatusServiceUnavailable, reason)
}

// readOnly answers 405 and returns false unless the request is GET or HEAD.
func readOnly(ctx *fasthttp.RequestCtx) bool {
	if ctx.IsGet() || ctx.IsHead() {
		return true
	}
	notAllowed(ctx, "GET, HEAD")
	return false
}

func notAllowed(ctx *fasthttp.RequestCtx, allow string) {
	ctx.Response.Header.SetCanonical(headerAllow, []byte(allow))
	fail(ctx, fasthttp.StatusMethodNotAllowed, "method not allowed")
}

// readFailed answers for a lookup that failed. f is still pinned.
func (s *Server) readFailed(ctx *fasthttp.RequestCtx, shard *shard, f *reader.File, err error) {
	shard.lookups[lookupError].Add(1)
	if errors.Is(err, reader.ErrFault) {
		s.opts.Store.Fault(f, err)
		unavailable(ctx, "the generation cannot be read")
		return
	}
	s.opts.Logger.Error("lookup", "generation", f.ID().String(), "uri", string(ctx.RequestURI()), "error", err)
	fail(ctx, fasthttp.StatusInternalServerError, "the generation is damaged")
}

// refused answers a request that fasthttp could not read, and ends the
// connection.
func (s *Server) refused(ctx *fasthttp.RequestCtx, err error) {
	// fasthttp wraps what it meets within the headers of a request. Bare, and
	// without headers, it is the end of a connection on which nothing was sent,
	// which is no request, or of which a body did not come to its end: that
	// client is past answers.
	if _, bare := any(err).(net.Error); bare && len(ctx.Request.Header.RawHeaders()) == 0 {
		// What is in the response would be sent all the same.
		_ = ctx.Conn().SetWriteDeadline(time.Unix(1, 0))
		return
	}
	code, reason := fasthttp.StatusBadRequest, "malformed request"
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.As(err, &small):
		code, reason = fasthttp.StatusRequestHeaderFieldsTooLarge, "the request line and headers are too long"
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		code, reason = fasthttp.StatusRequestEntityTooLarge, "the body is too long"
	case errors.As(err, &netErr) && netErr.Timeout():
		code, reason = fasthttp.StatusRequestTimeout, "the request took too long"
	}
	ctx.Response.Reset()
	fail(ctx, code, reason)
	// The time is not known: nothing was handled.
	s.figures.shard(ctx.ConnID()).requests[endpointOther][codeIndex(code)].Add(1)
}

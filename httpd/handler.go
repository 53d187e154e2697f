package httpd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format/generation"
	"promostore/reader"
)

var (
	promotionsPrefix = []byte("/promotions/")
	lookupPrefix     = []byte("lookup/") // after promotionsPrefix
)

// isLookup reports whether a path is that of a lookup. rest is its part after
// promotionsPrefix: "lookup", or "lookup/" and a hex digit, by which a proxy routes
// the request to a server that has the ids with this deciding digit.
func isLookup(rest []byte) bool {
	if len(rest) > len("lookup/0") {
		return false // as an id is
	}
	digit, ok := bytes.CutPrefix(rest, lookupPrefix)
	if !ok {
		return string(rest) == "lookup"
	}
	return len(digit) == 1 && isHexDigit(digit[0])
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// handle answers every request. It is the only place that recovers from a
// panic, and the only one that counts responses of handlers.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	shard := s.metrics.shard(ctx.ConnID())
	endpoint := endpointOther
	defer func() {
		if r := recover(); r != nil {
			s.recovered(ctx, r)
		}
		took := time.Since(ctx.Time())
		shard.observe(endpoint, ctx.Response.StatusCode(), took)
		if s.slow.isSlow(took) {
			s.slow.request(ctx, took)
		}
	}()
	if s.draining.Load() {
		ctx.SetConnectionClose()
	}
	path := ctx.Path()
	id, isPromotion := bytes.CutPrefix(path, promotionsPrefix)
	isLookup := isPromotion && isLookup(id)
	if !(isLookup && ctx.IsPost()) {
		s.ignoreBody(ctx)
	}
	if isAmbiguous(&ctx.Request.Header) {
		s.endEarly(ctx)
		fail(ctx, fasthttp.StatusBadRequest, "malformed request")
		return
	}
	switch {
	case isLookup:
		endpoint = endpointLookup
		s.lookup(ctx, shard)
		return
	case isPromotion && s.history != nil && isHistory(id) && isExact(ctx):
		s.promotionHistory(ctx, id[:len(id)-len(historySuffix)])
		return
	case isPromotion && !bytes.HasPrefix(id, lookupPrefix):
		endpoint = endpointPromotion
		s.promotion(ctx, shard, id)
		return
	}
	if bytes.HasPrefix(ctx.URI().PathOriginal(), promotionsPrefix) {
		// It has dot segments, and may have passed a proxy that forwards only promotions.
		fail(ctx, fasthttp.StatusNotFound, "not found")
		return
	}
	switch string(path) {
	case "/healthz":
		s.healthz(ctx)
	case "/readyz":
		s.readyz(ctx)
	case "/openapi.json":
		s.openapi(ctx)
	case "/status":
		s.status(ctx)
	case "/prometheus", "/metrics":
		s.prometheus(ctx)
	default:
		if s.history == nil || !s.page(ctx, path) && !s.generations(ctx, path) {
			fail(ctx, fasthttp.StatusNotFound, "not found")
		}
	}
}

// recovered answers a request whose handler panicked.
func (s *Server) recovered(ctx *fasthttp.RequestCtx, reason any) {
	s.metrics.panics.Add(1)
	s.opts.Logger.Error("panic", "reason", fmt.Sprint(reason), "uri", string(ctx.RequestURI()), "stack", string(debug.Stack()))
	ctx.Response.Reset()
	ctx.SetConnectionClose()
	fail(ctx, fasthttp.StatusInternalServerError, "internal error")
}

// ignoreBody prepares an answer that does not depend on the body of the request.
// fasthttp reads a short body of a known length after the answer. With any other
// body the connection ends, because its chunks may be malformed, or the client
// sends for long.
func (s *Server) ignoreBody(ctx *fasthttp.RequestCtx) {
	const short = 256 << 10
	if length := ctx.Request.Header.ContentLength(); (length < 0 || length > short) && ctx.RequestBodyStream() != nil {
		s.endEarly(ctx)
	}
}

// endEarly ends the connection after an answer that does not wait for the end of
// the request. The next request may begin at any of its bytes.
func (s *Server) endEarly(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger()
	}
}

// reject answers a request that fasthttp could not read. fasthttp then closes
// the connection.
func (s *Server) reject(ctx *fasthttp.RequestCtx, err error) {
	if ended(ctx, err) {
		// fasthttp sends the response in any case; an expired deadline stops it.
		_ = ctx.Conn().SetWriteDeadline(time.Unix(1, 0))
		return
	}
	// The deadline is that of the last answer, which may have passed.
	_ = ctx.Conn().SetWriteDeadline(time.Now().Add(s.fast.WriteTimeout))
	code, reason := fasthttp.StatusBadRequest, "malformed request"
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.As(err, &small):
		code, reason = fasthttp.StatusRequestHeaderFieldsTooLarge, "the request line and headers are too long"
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		code, reason = fasthttp.StatusRequestEntityTooLarge, "the body is too long"
	case errors.Is(err, errLineEnd):
		reason = errLineEnd.Error()
	case errors.As(err, &netErr) && netErr.Timeout():
		code, reason = fasthttp.StatusRequestTimeout, "the request took too long"
	}
	ctx.Response.Reset()
	if code != fasthttp.StatusRequestTimeout { // a slow client gets no more time
		s.endEarly(ctx)
	}
	fail(ctx, code, reason)
	// Count the request only: no handler ran, so there is no duration.
	s.metrics.shard(ctx.ConnID()).requests[endpointOther][codeIndex(code)].Add(1)
	took := time.Duration(0)
	if code == fasthttp.StatusRequestTimeout {
		took = s.fast.ReadTimeout
	}
	if s.slow.isSlow(took) {
		s.slow.rejected(ctx.RemoteAddr(), took, code)
	}
}

// ended reports whether err is the end of a connection and not of a request. Then
// the client has sent nothing, or it has gone.
func ended(ctx *fasthttp.RequestCtx, err error) bool {
	// fasthttp wraps the errors that occur inside the headers of a request. If a
	// body has announced bytes and none arrive, it removes the headers and does
	// not wrap the error.
	netErr, unwrapped := any(err).(net.Error)
	if !unwrapped || len(ctx.Request.Header.RawHeaders()) > 0 {
		return false
	}
	c, ok := ctx.Conn().(*conn)
	return !ok || !c.received || !netErr.Timeout()
}

// bodyFailed answers a lookup whose body could not be read.
func (s *Server) bodyFailed(ctx *fasthttp.RequestCtx, err error) {
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		ctx.SetConnectionClose() // a slow client gets no more time
		fail(ctx, fasthttp.StatusRequestTimeout, "the request took too long")
		return
	}
	s.endEarly(ctx)
	switch {
	case errors.Is(err, errBusy):
		s.busy(ctx)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, "the body is too long")
	default:
		fail(ctx, fasthttp.StatusBadRequest, "malformed request")
	}
}

// busy answers a lookup that the limits of all lookups leave no room for.
func (s *Server) busy(ctx *fasthttp.RequestCtx) {
	s.metrics.lookupsRefused.Add(1)
	unavailable(ctx, errBusy.Error())
}

// acquire returns the live generation. The caller must release it with the ID
// of the connection. Without a generation, acquire answers 503 and returns nil.
func (s *Server) acquire(ctx *fasthttp.RequestCtx) *reader.Generation {
	g := s.opts.Store.Acquire(ctx.ConnID())
	if g == nil {
		unavailable(ctx, "no generation is live")
	}
	return g
}

// A generationName caches the text of a generation ID, which every answer
// carries.
type generationName struct {
	id   generation.ID
	text []byte
}

// setGeneration sets the header that names the generation of the response. While
// generations change, requests on either generation may replace the cached name,
// but each request uses its own.
func (s *Server) setGeneration(ctx *fasthttp.RequestCtx, g *reader.Generation) {
	name := s.generation.Load()
	if name == nil || name.id != g.ID() {
		name = &generationName{g.ID(), []byte(g.ID().String())}
		s.generation.Store(name)
	}
	ctx.Response.Header.SetCanonical(headerGeneration, name.text)
}

// lookupFailed answers a request whose lookup in g failed. The caller still
// holds g.
func (s *Server) lookupFailed(ctx *fasthttp.RequestCtx, shard *shard, g *reader.Generation, err error) {
	if errors.Is(err, reader.ErrBusy) {
		shard.lookups[lookupBusy].Add(1)
		busy(ctx)
		return
	}
	shard.lookups[lookupError].Add(1)
	if errors.Is(err, reader.ErrFault) {
		s.opts.Store.Fault(g, err)
		unavailable(ctx, "the generation cannot be read")
		return
	}
	if errors.Is(err, reader.ErrChanged) {
		s.opts.Store.Changed(g, err)
		unavailable(ctx, "the generation is being verified again")
		return
	}
	if errors.Is(err, reader.ErrUnreadable) {
		s.opts.Store.Unreadable(g, err)
		unavailable(ctx, "the generation cannot be read")
		return
	}
	s.opts.Logger.Error("lookup", "generation", g.ID().String(), "uri", string(ctx.RequestURI()), "error", err)
	fail(ctx, fasthttp.StatusInternalServerError, "the generation is damaged")
}

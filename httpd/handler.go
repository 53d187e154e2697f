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

var promotionsPrefix = []byte("/promotions/")

// handle answers every request. It is the only place that recovers from a
// panic, and the only one that counts responses of handlers.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	shard := s.metrics.shard(ctx.ConnID())
	endpoint := endpointOther
	defer func() {
		if r := recover(); r != nil {
			s.recovered(ctx, r)
		}
		shard.observe(endpoint, ctx.Response.StatusCode(), time.Since(ctx.Time()))
	}()
	if s.draining.Load() {
		ctx.SetConnectionClose()
	}
	if isAmbiguous(&ctx.Request.Header) {
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusBadRequest, "malformed request")
		return
	}
	path := ctx.Path()
	if id, ok := bytes.CutPrefix(path, promotionsPrefix); ok {
		if string(id) == "lookup" {
			endpoint = endpointLookup
			s.lookup(ctx, shard)
		} else {
			endpoint = endpointPromotion
			s.promotion(ctx, shard, id)
		}
		return
	}
	switch string(path) {
	case "/healthz":
		s.healthz(ctx)
	case "/readyz":
		s.readyz(ctx)
	case "/status":
		s.status(ctx)
	case "/prometheus", "/metrics":
		s.prometheus(ctx)
	default:
		fail(ctx, fasthttp.StatusNotFound, "not found")
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

// reject answers a request that fasthttp could not read. fasthttp then closes
// the connection.
func (s *Server) reject(ctx *fasthttp.RequestCtx, err error) {
	// fasthttp wraps the errors that occur inside the headers of a request. An
	// unwrapped network error without headers is the end of a connection: either
	// nothing was sent on it, so there is no request, or a body is incomplete,
	// so the client no longer reads.
	if _, unwrapped := any(err).(net.Error); unwrapped && len(ctx.Request.Header.RawHeaders()) == 0 {
		// fasthttp sends the response in any case; an expired deadline stops it.
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
	// Count the request only: no handler ran, so there is no duration.
	s.metrics.shard(ctx.ConnID()).requests[endpointOther][codeIndex(code)].Add(1)
}

// bodyFailed answers a lookup whose body could not be read. The connection ends,
// because the next request may begin at any of its bytes.
func (s *Server) bodyFailed(ctx *fasthttp.RequestCtx, err error) {
	ctx.SetConnectionClose()
	var netErr net.Error
	switch {
	case errors.Is(err, errBusy):
		s.busy(ctx)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, "the body is too long")
	case errors.As(err, &netErr) && netErr.Timeout():
		fail(ctx, fasthttp.StatusRequestTimeout, "the request took too long")
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
func (s *Server) acquire(ctx *fasthttp.RequestCtx) *reader.File {
	f := s.opts.Store.Acquire(ctx.ConnID())
	if f == nil {
		unavailable(ctx, "no generation yet")
	}
	return f
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
func (s *Server) setGeneration(ctx *fasthttp.RequestCtx, f *reader.File) {
	name := s.generation.Load()
	if name == nil || name.id != f.ID() {
		name = &generationName{f.ID(), []byte(f.ID().String())}
		s.generation.Store(name)
	}
	ctx.Response.Header.SetCanonical(headerGeneration, name.text)
}

// lookupFailed answers a request whose lookup in f failed. The caller still
// holds f.
func (s *Server) lookupFailed(ctx *fasthttp.RequestCtx, shard *shard, f *reader.File, err error) {
	if errors.Is(err, reader.ErrBusy) {
		shard.lookups[lookupBusy].Add(1)
		busy(ctx)
		return
	}
	shard.lookups[lookupError].Add(1)
	if errors.Is(err, reader.ErrFault) {
		s.opts.Store.Fault(f, err)
		unavailable(ctx, "the generation cannot be read")
		return
	}
	if errors.Is(err, reader.ErrChanged) {
		s.opts.Store.Changed(f, err)
		unavailable(ctx, "the generation is being verified again")
		return
	}
	if errors.Is(err, reader.ErrUnreadable) {
		s.opts.Store.Unreadable(f, err)
		unavailable(ctx, "the generation cannot be read")
		return
	}
	s.opts.Logger.Error("lookup", "generation", f.ID().String(), "uri", string(ctx.RequestURI()), "error", err)
	fail(ctx, fasthttp.StatusInternalServerError, "the generation is damaged")
}

package httpd

import "github.com/valyala/fasthttp"

// healthz tells that the process lives.
func (s *Server) healthz(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"status":"ok"}`)
}

// readyz tells whether the server should get requests.
func (s *Server) readyz(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	switch {
	case s.draining.Load():
		unavailable(ctx, "draining")
	case !s.live(ctx.ConnID()):
		unavailable(ctx, "no generation yet")
	default:
		ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
		ctx.Response.SetBodyString(`{"status":"ready"}`)
	}
}

// live reports whether there is a generation to serve.
func (s *Server) live(slot uint64) bool {
	f := s.opts.Store.Acquire(slot)
	if f == nil {
		return false
	}
	s.opts.Store.Release(f, slot)
	return true
}

package httpd

import (
	"github.com/valyala/fasthttp"

	"promostore/format/generation"
)

// healthz reports that the process is alive.
func (s *Server) healthz(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"status":"ok"}` + "\n")
}

// readyz reports whether the server should receive requests, and if not, the
// reason.
func (s *Server) readyz(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	if s.draining.Load() {
		unavailable(ctx, "draining")
		return
	}
	g := s.opts.Store.Acquire(ctx.ConnID())
	if g == nil {
		st := s.opts.Store.Status()
		unavailable(ctx, problemOf(&st))
		return
	}
	s.opts.Store.Release(g, ctx.ConnID())
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"status":"ready"}` + "\n")
}

// problemOf returns why no generation is live. If one became live meanwhile, the
// client tries again.
func problemOf(st *generation.Status) string {
	if err := st.Problem(); err != nil {
		return err.Error()
	}
	return generation.ErrEmpty.Error()
}

// ready reports whether /readyz answers 200.
func (s *Server) ready() bool {
	if s.draining.Load() {
		return false
	}
	g := s.opts.Store.Acquire(0)
	if g == nil {
		return false
	}
	s.opts.Store.Release(g, 0)
	return true
}

package httpd

import (
	"github.com/valyala/fasthttp"

	"promostore/openapi"
	"promostore/web"
)

// Status describes the generations as of the last poll of the directory. With its
// Details it names files and persons, so only the admin listener serves those.
func (s *Server) Status() web.Status {
	found := s.opts.Store.Status()
	st := web.NewStatus(s.opts.Version, s.started, &found)
	st.Digits = s.opts.Store.Digits().String()
	st.Swaps = s.metrics.swaps[swapLive].Load()
	return st
}

// openapi describes all requests as an OpenAPI document.
func (s *Server) openapi(ctx *fasthttp.RequestCtx) {
	if readOnly(ctx) {
		ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
		ctx.Response.SetBodyRaw(openapi.Document())
	}
}

// status reports the live, the pinned and the newest generation, and the problems
// of the directory.
func (s *Server) status(ctx *fasthttp.RequestCtx) {
	if readOnly(ctx) {
		answerJSON(ctx, s.Status().Public())
	}
}

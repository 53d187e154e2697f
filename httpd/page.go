package httpd

import (
	"bytes"

	"github.com/valyala/fasthttp"

	"promostore/page"
)

var assetsPrefix = []byte("/assets/")

// page answers requests for the page and its assets. It reports false for
// other paths.
func (s *Server) page(ctx *fasthttp.RequestCtx, path []byte) bool {
	switch string(path) {
	case "/":
		s.index(ctx)
	case "/activity":
		s.activity(ctx)
	default:
		if !bytes.HasPrefix(path, assetsPrefix) {
			return false
		}
		s.asset(ctx, path)
	}
	return true
}

// index serves the page. `?id=ID` looks a promotion up, and `?from=ID&to=ID` compares
// two generations.
func (s *Server) index(ctx *fasthttp.RequestCtx) {
	if readOnly(ctx) {
		args := ctx.QueryArgs()
		q := page.Query{ID: string(args.Peek("id")), From: string(args.Peek("from")), To: string(args.Peek("to"))}
		a := page.Respond(ctx, s.history, s.View(), q, false)
		if a.Shared || s.setText(ctx, a.Body) {
			sendPage(ctx, a)
		} else {
			sendPage(ctx, page.Busy(fasthttp.StatusServiceUnavailable, string(retryAfter)))
		}
	}
}

// View returns what the page shows of the server itself, with the details of its
// status.
func (s *Server) View() page.View {
	activity := s.Activity()
	return page.View{Program: "promoserve", Status: s.Status(), Activity: &activity}
}

// activity reports for each of the last 60 minutes the number of requests for promotions,
// the number of answers 429 and 5xx, and the p50 and p99 of the durations.
func (s *Server) activity(ctx *fasthttp.RequestCtx) {
	if readOnly(ctx) {
		ctx.Response.Header.SetCanonical(headerCacheControl, noStore)
		answerJSON(ctx, s.Activity())
	}
}

// Activity returns the requests of the last hour. Call it only with Options.Page.
func (s *Server) Activity() page.Activity { return s.recorder.Activity() }

// asset serves a file that the page loads. Its path changes with its content, and
// caches keep it.
func (s *Server) asset(ctx *fasthttp.RequestCtx, path []byte) {
	if !readOnly(ctx) {
		return
	}
	a, ok := page.FindAsset(string(path))
	if !ok {
		fail(ctx, fasthttp.StatusNotFound, "not found")
		return
	}
	sendPage(ctx, a)
}

// sendPage sends an answer of the page, but not a body that setText has set.
func sendPage(ctx *fasthttp.RequestCtx, a page.Answer) {
	ctx.SetStatusCode(a.Code)
	a.Header(ctx.Response.Header.Set)
	if a.Shared {
		ctx.Response.SetBodyRaw(a.Body)
	}
}

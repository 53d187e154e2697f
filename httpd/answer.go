package httpd

import (
	"encoding/json"

	"github.com/valyala/fasthttp"

	"promostore/reader"
)

// Header names and values in canonical form, which fasthttp neither copies nor
// normalizes.
var (
	headerAcceptEncoding     = []byte("Accept-Encoding")
	headerAllow              = []byte("Allow")
	headerCacheControl       = []byte("Cache-Control")
	headerContentType        = []byte("Content-Type")
	headerContentTypeOptions = []byte("X-Content-Type-Options")
	headerETag               = []byte("ETag")
	headerGeneration         = []byte("X-Promotions-Generation")
	headerIfNoneMatch        = []byte("If-None-Match")
	headerRetryAfter         = []byte("Retry-After")

	typeJSON         = []byte("application/json")
	encodingIdentity = []byte("identity")
	noStore          = []byte("no-store")
	noSniff          = []byte("nosniff") // the answer may have texts of clients

	// A generation appears, or an older one replaces it, within about a poll.
	retryAfter = []byte("1")
)

// answerJSON answers 200 with v as JSON. Every JSON body ends with a newline, so
// that a shell prompt does not follow it on the same line.
func answerJSON(ctx *fasthttp.RequestCtx, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBody(append(text, '\n'))
}

// setText makes text the body of the answer. Until the client has read it, it counts as
// memory of the answers to lookups, because it exceeds what the kernel holds for a
// client that does not read. Without room for it, setText reports false.
func (s *Server) setText(ctx *fasthttp.RequestCtx, text []byte) bool {
	if ctx.IsHead() {
		ctx.Response.SetBodyRaw(text) // it is not sent
		return true
	}
	a := answers.Get().(*answer)
	a.admission = &s.admission
	if !a.reserve(cap(text)) {
		a.free()
		return false
	}
	a.text = text
	a.Reset(text)
	ctx.Response.SetBodyStream(a, len(text))
	return true
}

// fail answers with an error. The reason is plain text.
func fail(ctx *fasthttp.RequestCtx, code int, reason string) {
	ctx.SetStatusCode(code)
	answerJSON(ctx, struct {
		Error string `json:"error"`
	}{reason})
}

// notFound answers 404 for a promotion. Unlike fail it does not allocate,
// because this error is not rare. No cache may keep the answer if promotions have a
// Cache-Control: by default a cache chooses how long, and the promotion may be in
// the next generation.
func (s *Server) notFound(ctx *fasthttp.RequestCtx) {
	if len(s.cacheControl) > 0 {
		ctx.Response.Header.SetCanonical(headerCacheControl, noStore)
	}
	ctx.SetStatusCode(fasthttp.StatusNotFound)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"error":"promotion not found"}` + "\n")
}

// misdirected answers 421 for an id of a shard that another server has. id is valid
// and needs no escaping. Like notFound it does not allocate, because a proxy that
// sends digits to the wrong servers causes many. RFC 7540 lets caches keep the
// answer; they must not, because the digits of a server may change.
func (s *Server) misdirected(ctx *fasthttp.RequestCtx, shard *shard, g *reader.Generation, id []byte) {
	shard.lookups[lookupForeign].Add(1)
	ctx.SetStatusCode(fasthttp.StatusMisdirectedRequest)
	ctx.Response.Header.SetCanonical(headerCacheControl, noStore)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	digits := s.opts.Store.Digits()
	b := append(ctx.Response.SwapBody(nil)[:0], `{"error":"id `...)
	b = append(append(b, id...), ": this server serves only ids whose "...)
	b = append(append(b, g.Sharding().Rule.String()...), " digit is in "...)
	b = append(digits.Append(b), `","digits":"`...)
	ctx.Response.SwapBody(append(digits.Append(b), "\"}\n"...))
}

// unavailable answers 503 and asks the client to try again.
func unavailable(ctx *fasthttp.RequestCtx, reason string) {
	ctx.Response.Header.SetCanonical(headerRetryAfter, retryAfter)
	fail(ctx, fasthttp.StatusServiceUnavailable, reason)
}

// busy answers 503 for a lookup that waited too long for the disk. Unlike
// unavailable it does not allocate, because a slow disk causes many.
func busy(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(fasthttp.StatusServiceUnavailable)
	ctx.Response.Header.SetCanonical(headerRetryAfter, retryAfter)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyString(`{"error":"the disk is busy"}` + "\n")
}

// readOnly reports whether the request is GET or HEAD. If not it answers 405.
func readOnly(ctx *fasthttp.RequestCtx) bool {
	if ctx.IsGet() || ctx.IsHead() {
		return true
	}
	notAllowed(ctx, "GET, HEAD")
	return false
}

// notAllowed answers 405. The methods in allow are comma-separated.
func notAllowed(ctx *fasthttp.RequestCtx, allow string) {
	ctx.Response.Header.SetCanonical(headerAllow, []byte(allow))
	fail(ctx, fasthttp.StatusMethodNotAllowed, "method not allowed")
}

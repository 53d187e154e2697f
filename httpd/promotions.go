package httpd

import (
	"github.com/valyala/fasthttp"

	"promostore/reader"
)

// promotion answers GET and HEAD of /promotions/<id>. It does not allocate.
func (s *Server) promotion(ctx *fasthttp.RequestCtx, shard *shard, id []byte) {
	if !readOnly(ctx) {
		return
	}
	g := s.acquire(ctx)
	if g == nil {
		return
	}
	defer s.opts.Store.Release(g, ctx.ConnID())
	s.setGeneration(ctx, g)
	key, ok := reader.ParseID(id)
	if !ok {
		shard.lookups[lookupMalformed].Add(1)
		s.notFound(ctx)
		return
	}
	f := g.File(key)
	if f == nil {
		s.misdirected(ctx, shard, g, id)
		return
	}
	r, found, err := f.Get(key)
	if err != nil {
		s.lookupFailed(ctx, shard, g, err)
		return
	}
	if !found {
		shard.lookups[lookupNotFound].Add(1)
		s.notFound(ctx)
		return
	}
	shard.lookups[lookupFound].Add(1)
	// Appending to the buffer of the response saves a copy.
	body := append(s.opts.JSON.AppendJSON(ctx.Response.SwapBody(nil)[:0], &r, g.Styles()), '\n')
	ctx.Response.SwapBody(body)
	var tagBuf [etagLen]byte
	tag := appendETag(tagBuf[:0], body)
	ctx.Response.Header.SetCanonical(headerETag, tag)
	if len(s.cacheControl) > 0 {
		ctx.Response.Header.SetCanonical(headerCacheControl, s.cacheControl)
	}
	if notModified(&ctx.Request.Header, tag) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		ctx.Response.ResetBody()
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
}

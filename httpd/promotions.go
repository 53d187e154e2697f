package httpd

import (
	"github.com/valyala/fasthttp"

	"promostore/reader"
)

// promotion answers GET and HEAD of /promotions/<id>. It must not allocate.
func (s *Server) promotion(ctx *fasthttp.RequestCtx, shard *shard, id []byte) {
	if !readOnly(ctx) {
		return
	}
	slot := ctx.ConnID()
	f := s.opts.Store.Acquire(slot)
	if f == nil {
		unavailable(ctx, "no generation yet")
		return
	}
	defer s.opts.Store.Release(f, slot)
	s.setGeneration(ctx, f)
	key, ok := reader.ParseID(id)
	if !ok {
		shard.lookups[lookupMalformed].Add(1)
		notFound(ctx)
		return
	}
	r, found, err := f.Get(key)
	if err != nil {
		s.readFailed(ctx, shard, f, err)
		return
	}
	if !found {
		shard.lookups[lookupNotFound].Add(1)
		notFound(ctx)
		return
	}
	shard.lookups[lookupFound].Add(1)
	// Written where fasthttp wants it, which saves a copy.
	body := s.opts.JSON.AppendJSON(ctx.Response.SwapBody(nil)[:0], &r, f.Styles())
	ctx.Response.SwapBody(body)
	var tagBuf [etagLen]byte
	tag := appendETag(tagBuf[:0], body)
	ctx.Response.Header.SetCanonical(headerETag, tag)
	if notModified(&ctx.Request.Header, tag) {
		ctx.SetStatusCode(fasthttp.StatusNotModified)
		ctx.Response.ResetBody()
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
}

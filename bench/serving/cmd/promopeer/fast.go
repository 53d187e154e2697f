package main

import (
	"context"
	"net"

	"github.com/valyala/fasthttp"
)

// fast is a server of handler with the limits of promoserve, but without its
// timeouts: fasthttp would move timers for each request, which promoserve has
// found a way to spare.
func fast(handler fasthttp.RequestHandler) server {
	return func(ctx context.Context, ln net.Listener) error {
		s := fasthttp.Server{
			Handler:                      handler,
			NoDefaultServerHeader:        true,
			NoDefaultContentType:         true,
			CloseOnShutdown:              true,
			DisablePreParseMultipartForm: true,
			ReadBufferSize:               8 << 10,
			MaxRequestBodySize:           1 << 20,
		}
		stop := context.AfterFunc(ctx, func() { _ = s.Shutdown() })
		defer stop()
		return s.Serve(ln)
	}
}

// constant is one answer for every request, with the headers of promoserve's.
// It is the least that a handler of fasthttp can do: nothing is converted, and
// the body is not copied.
type constant struct {
	body, etag, generation []byte
}

var (
	headerContentType = []byte("Content-Type")
	headerETag        = []byte("ETag")
	headerGeneration  = []byte("X-Promotions-Generation")
	typeJSON          = []byte("application/json")
)

func (c *constant) handle(ctx *fasthttp.RequestCtx) {
	h := &ctx.Response.Header
	h.SetCanonical(headerGeneration, c.generation)
	h.SetCanonical(headerETag, c.etag)
	h.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBodyRaw(c.body)
}

package main

import (
	"context"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// fast is a server of handler that is set up as promoserve is.
func fast(handler fasthttp.RequestHandler) server {
	return func(ctx context.Context, ln net.Listener) error {
		s := fasthttp.Server{
			Handler:                      handler,
			NoDefaultServerHeader:        true,
			NoDefaultContentType:         true,
			CloseOnShutdown:              true,
			DisablePreParseMultipartForm: true,
			ReadTimeout:                  10 * time.Second,
			WriteTimeout:                 10 * time.Second,
			IdleTimeout:                  90 * time.Second,
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

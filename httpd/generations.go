package httpd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/web"
)

var (
	historySuffix     = []byte("/history")      // after an id
	generationsPrefix = []byte("/generations/") // before the generations of a comparison
	diffInfix         = []byte("/diff/")        // between them

	slash, encodedSlash = []byte("/"), []byte("%2f")
)

// isHistory reports whether the part of a path after promotionsPrefix is that of the
// history of an id. The last byte of an id is no y, so most calls compare one byte.
func isHistory(rest []byte) bool {
	return len(rest) > 0 && rest[len(rest)-1] == 'y' && bytes.HasSuffix(rest, historySuffix)
}

// isExact reports whether the client sent the segments of the path as they are: none
// is empty or has dots only, and none has an encoded slash.
func isExact(ctx *fasthttp.RequestCtx) bool {
	sent := ctx.URI().PathOriginal()
	return bytes.Count(sent, slash) == bytes.Count(ctx.Path(), slash) && !bytes.Contains(bytes.ToLower(sent), encodedSlash)
}

// generations answers requests for /generations and below. It reports false for
// other paths.
func (s *Server) generations(ctx *fasthttp.RequestCtx, path []byte) bool {
	if !isExact(ctx) {
		return false
	}
	if string(path) == "/generations" {
		s.listGenerations(ctx)
		return true
	}
	rest, ok := bytes.CutPrefix(path, generationsPrefix)
	from, to, isDiff := bytes.Cut(rest, diffInfix)
	if !ok || !isDiff || bytes.IndexByte(from, '/') >= 0 || bytes.IndexByte(to, '/') >= 0 {
		return false
	}
	s.diff(ctx, string(from), string(to))
	return true
}

// listGenerations lists the generations of the directory, newest first, with the
// summaries of their builds.
func (s *Server) listGenerations(ctx *fasthttp.RequestCtx) {
	if readOnly(ctx) {
		s.sendHistory(ctx, s.history.Generations(ctx, false))
	}
}

// promotionHistory reports which promotion each generation has for an ID.
func (s *Server) promotionHistory(ctx *fasthttp.RequestCtx, id []byte) {
	if readOnly(ctx) {
		s.sendHistory(ctx, s.history.Promotion(ctx, id, false))
	}
}

// diff compares two generations.
func (s *Server) diff(ctx *fasthttp.RequestCtx, from, to string) {
	if readOnly(ctx) {
		s.sendHistory(ctx, s.history.Diff(from, to, string(ctx.QueryArgs().Peek("limit")), false))
	}
}

// History returns the answers about the generations; nil without Options.Page.
func (s *Server) History() *web.History { return s.history }

// sendHistory sends an answer about the generations.
func (s *Server) sendHistory(ctx *fasthttp.RequestCtx, a web.Answer) {
	ctx.SetStatusCode(a.Code)
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.Header.SetCanonical(headerCacheControl, noStore)
	ctx.Response.Header.SetCanonical(headerContentTypeOptions, noSniff)
	if a.RetryAfter != "" {
		ctx.Response.Header.SetCanonical(headerRetryAfter, []byte(a.RetryAfter))
	}
	switch {
	case a.Diff == nil:
		if !s.setText(ctx, a.Body) {
			unavailable(ctx, errBusy.Error())
		}
	case ctx.IsHead():
		a.Diff.Close()
	case !ctx.Request.Header.IsHTTP11():
		s.streamUnframed(ctx, a.Diff)
	default:
		conn := ctx.Conn()
		ctx.SetBodyStreamWriter(func(w *bufio.Writer) { s.stream(a.Diff, conn, w) })
	}
}

// streamUnframed answers a comparison for a client of HTTP/1.0, which reads no
// chunks: the body ends with the connection. fasthttp cannot send such a body.
func (s *Server) streamUnframed(ctx *fasthttp.RequestCtx, d *web.DiffStream) {
	ctx.Response.Header.SetContentLength(-2) // neither a length nor chunks
	header := bytes.Clone(ctx.Response.Header.Header())
	conn := ctx.Conn()
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(net.Conn) {
		w := bufio.NewWriter(conn)
		_, _ = w.Write(header) // w keeps the error
		s.stream(d, conn, w)
	})
}

// stream writes the body of a comparison. fasthttp calls it in a goroutine of its
// own, and copies the body to the connection.
func (s *Server) stream(d *web.DiffStream, conn net.Conn, w *bufio.Writer) {
	defer func() {
		if r := recover(); r != nil {
			s.metrics.panics.Add(1)
			s.opts.Logger.Error("panic", "reason", fmt.Sprint(r), "uri", "comparison", "stack", string(debug.Stack()))
		}
	}()
	d.Run(context.Background(), deadlineWriter{w, conn, s.fast.WriteTimeout}, w.Flush)
}

// A deadlineWriter gives each Write a deadline. fasthttp sets one for the whole
// response, which is too short for a long comparison.
type deadlineWriter struct {
	w       *bufio.Writer
	conn    net.Conn
	timeout time.Duration
}

func (w deadlineWriter) Write(p []byte) (int, error) {
	_ = w.conn.SetWriteDeadline(time.Now().Add(w.timeout)) // it fails only if the client has gone
	return w.w.Write(p)
}

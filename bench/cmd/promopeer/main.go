// Promopeer runs the programs that promostore is compared with and
// that are not programs of their own, and the load generator, each in a process
// whose time and memory can be told from those of the caller.
//
//	promopeer load OPTIONS                    send the load, print its result
//	promopeer read OPTIONS                    read a generation at random, print the result
//	promopeer build PEER CSV PATH             build a store, print the peak memory
//	promopeer constant ADDRESS BODY ETAG GEN  serve one answer
//	promopeer serve ADDRESS PEER PATH ROWS    serve a store with ROWS rows
//	promopeer mariadb ADDRESS DSN             serve from MariaDB
//
// Options and results are in JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/valyala/fasthttp"

	"promostore/bench/load"
	"promostore/bench/peer"
	"promostore/internal/sysmem"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "promopeer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "load":
		return inJSON(ctx, args[1], load.Run)
	case len(args) == 2 && args[0] == "read":
		return inJSON(ctx, args[1], peer.Read)
	case len(args) == 4 && args[0] == "build":
		p, err := peer.Find(args[1])
		if err != nil {
			return err
		}
		if err := p.Build(ctx, args[2], args[3]); err != nil {
			return err
		}
		_, err = fmt.Println(sysmem.Peak())
		return err
	case len(args) == 5 && args[0] == "constant":
		return serveFast(ctx, args[1], constant(args[2], args[3], args[4]))
	case len(args) == 5 && args[0] == "serve":
		rows, err := strconv.ParseInt(args[4], 10, 64)
		if err != nil {
			return err
		}
		s, err := openStore(args[2], args[3], rows)
		if err != nil {
			return err
		}
		return serveFast(ctx, args[1], s.handle)
	case len(args) == 3 && args[0] == "mariadb":
		return serveMariaDB(ctx, args[1], args[2])
	}
	return errors.New("wrong usage, see go doc promostore/bench/cmd/promopeer")
}

// inJSON calls f with its options.
func inJSON[O, R any](ctx context.Context, options string, f func(context.Context, O) (R, error)) error {
	var o O
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	r, err := f(ctx, o)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// serveFast serves with the limits of promoserve, but without its timeouts,
// for which fasthttp would change a timer in each request.
func serveFast(ctx context.Context, addr string, handler fasthttp.RequestHandler) error {
	s := fasthttp.Server{
		Handler:                      handler,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               8 << 10,
		MaxRequestBodySize:           1 << 20,
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Shutdown() })()
	return s.Serve(ln)
}

var (
	headerContentType = []byte("Content-Type")
	headerETag        = []byte("ETag")
	headerGeneration  = []byte("X-Promotions-Generation")
	typeJSON          = []byte("application/json")
)

// constant gives the same answer to every request, with the headers of
// promoserve. A handler of fasthttp cannot do less: nothing is converted, and
// the body is not copied.
func constant(body, etag, generation string) fasthttp.RequestHandler {
	bodyBytes, etagBytes, generationBytes := []byte(body), []byte(etag), []byte(generation)
	return func(ctx *fasthttp.RequestCtx) {
		h := &ctx.Response.Header
		h.SetCanonical(headerGeneration, generationBytes)
		h.SetCanonical(headerETag, etagBytes)
		h.SetCanonical(headerContentType, typeJSON)
		ctx.Response.SetBodyRaw(bodyBytes)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"

	"github.com/valyala/fasthttp"

	"promostore/bench/peer"
	"promostore/bench/serving/answer"
	"promostore/format"
	"promostore/internal/synth"
	"promostore/reader"
)

// A store answers as promoserve does, out of one of our peers, but for the
// generation and the ETag.
type store struct {
	peer.Store
	idle chan peer.Reader // a request takes one, and gives it back
}

// maxIdle is more requests than there are at a time.
const maxIdle = 1024

func openStore(name, path string) (*store, error) {
	p, found := peer.Find(name)
	if !found || p.Open == nil {
		return nil, fmt.Errorf("no store %q", name)
	}
	s, err := p.Open(path)
	if err != nil {
		return nil, err
	}
	return &store{s, make(chan peer.Reader, maxIdle)}, nil
}

func (s *store) close() error {
	var err error
	for len(s.idle) > 0 {
		err = errors.Join(err, (<-s.idle).Close())
	}
	return errors.Join(err, s.Close())
}

// warm looks every id of a table up, so that each page is in memory and in the
// store's own cache before the first request.
func (s *store) warm(ctx context.Context, rows int64) error {
	r, err := s.Reader()
	if err != nil {
		return err
	}
	defer func() { s.idle <- r }()
	var id [format.KeyLen]byte
	var buf []byte
	for i := range uint64(rows) {
		key := synth.Keys{Kind: synth.KeysV4}.At(i)
		peer.PutKey(&id, key)
		v, found, err := r.Get(&id, buf[:0])
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%s is not there", key)
		}
		if buf = v; i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func (s *store) serve(ctx context.Context, ln net.Listener) error { return fast(s.handle)(ctx, ln) }

// reader is one that is idle, or a new one.
func (s *store) reader() (peer.Reader, error) {
	select {
	case r := <-s.idle:
		return r, nil
	default:
		return s.Reader()
	}
}

const prefix = "/promotions/"

func (s *store) handle(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	path := ctx.Path()
	key, ok := reader.ParseID(path[min(len(path), len(prefix)):])
	if !ok {
		notFound(ctx)
		return
	}
	r, err := s.reader()
	if err != nil {
		failed(ctx, err)
		return
	}
	defer func() { s.idle <- r }()
	var id [format.KeyLen]byte
	peer.PutKey(&id, key)
	var buf [128]byte
	value, found, err := r.Get(&id, buf[:0])
	switch {
	case err != nil:
		failed(ctx, err)
	case !found:
		notFound(ctx)
	default:
		ctx.Response.SwapBody(answer.AppendRow(ctx.Response.SwapBody(nil)[:0], key, value))
	}
}

func notFound(ctx *fasthttp.RequestCtx) {
	ctx.SetStatusCode(fasthttp.StatusNotFound)
	ctx.SetBodyString(answer.NotFound)
}

func failed(ctx *fasthttp.RequestCtx, err error) {
	log.Print(err)
	ctx.SetStatusCode(fasthttp.StatusInternalServerError)
}

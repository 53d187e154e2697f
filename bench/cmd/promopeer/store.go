package main

import (
	"bytes"
	"errors"
	"fmt"
	"log"

	"github.com/valyala/fasthttp"

	"promostore/bench/peer"
	"promostore/format"
	"promostore/internal/synth"
	"promostore/reader"
)

// A store gives the answers of promoserve from the store of a peer, but without
// the generation and the ETag.
type store struct {
	*peer.Store
	idle chan peer.Get
}

// openStore opens a store of rows rows and looks up every ID, so that every page is
// in memory and in the cache of the store.
func openStore(name, path string, rows int64) (*store, error) {
	p, err := peer.Find(name)
	if err != nil {
		return nil, err
	}
	opened, err := p.Open(path)
	if err != nil {
		return nil, err
	}
	const maxIdle = 1024 // more than the number of requests at a time
	s := &store{opened, make(chan peer.Get, maxIdle)}
	for i := range uint64(rows) {
		_, found, err := s.get(synth.Keys{Kind: synth.KeysV4}.At(i), nil)
		if err != nil || !found {
			return nil, errors.Join(err, fmt.Errorf("row %d: found %v", i, found))
		}
	}
	return s, nil
}

func (s *store) handle(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	path := ctx.Path()
	key, ok := reader.ParseID(path[min(len(path), len("/promotions/")):])
	var value []byte
	var err error
	if ok {
		value, ok, err = s.get(key, make([]byte, 0, 64))
	}
	switch {
	case err != nil:
		log.Print(err)
		ctx.SetStatusCode(fasthttp.StatusInternalServerError)
	case !ok:
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		ctx.SetBodyString(notFound)
	default:
		price, date, _ := bytes.Cut(value, []byte(","))
		ctx.Response.SwapBody(appendAnswer(ctx.Response.SwapBody(nil)[:0], key, price, date))
	}
}

// get looks up an ID with an idle reader, or with a new one.
func (s *store) get(key format.Key, dst []byte) (value []byte, found bool, err error) {
	var get peer.Get
	select {
	case get = <-s.idle:
	default:
		if get, _, err = s.Reader(); err != nil {
			return nil, false, err
		}
	}
	defer func() { s.idle <- get }()
	var id [format.KeyLen]byte
	peer.PutKey(&id, key)
	return get(&id, dst)
}

// notFound is the answer of promoserve for an absent ID.
const notFound = `{"error":"promotion not found"}` + "\n"

// appendAnswer appends the answer of promoserve for a promotion. Price and date
// are those of the CSV.
func appendAnswer(dst []byte, key format.Key, price, date []byte) []byte {
	dst = key.AppendText(append(dst, `{"id":"`...), false)
	dst = append(append(dst, `","price":`...), price...)
	dst = append(append(dst, `,"expiration_date":"`...), date[:min(len(date), len("2018-06-04 06:01:20"))]...)
	return append(dst, "\"}\n"...)
}

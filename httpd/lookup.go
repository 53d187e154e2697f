package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/reader"
)

// maxLookupIDs is how many ids one batch may have.
const maxLookupIDs = 10_000

// lookup answers POST /promotions/lookup: many ids, all from one generation.
func (s *Server) lookup(ctx *fasthttp.RequestCtx, shard *shard) {
	if !ctx.IsPost() {
		notAllowed(ctx, "POST")
		return
	}
	if coding := ctx.Request.Header.ContentEncoding(); len(coding) > 0 && string(coding) != "identity" {
		ctx.Response.Header.SetCanonical(headerAcceptEncoding, encodingIdentity)
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "the body must not be encoded")
		return
	}
	ids, err := parseLookup(ctx.Request.Body())
	if err != nil {
		fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	if len(ids) > maxLookupIDs {
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, fmt.Sprintf("%d ids, more than %d", len(ids), maxLookupIDs))
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
	body, err := s.appendLookup(shard, f, ids)
	if err != nil {
		s.readFailed(ctx, shard, f, err)
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	// Not a copy in a buffer that fasthttp keeps: it may be 2 MB.
	ctx.Response.SetBodyRaw(body)
}

// parseLookup is the ids that body asks for. The error is for the client.
func parseLookup(body []byte) ([]string, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("the body is not UTF-8") // package json would replace what is not
	}
	var query struct {
		IDs []string `json:"ids"`
	}
	err := json.Unmarshal(body, &query)
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType) && wrongType.Field == "":
		return nil, errors.New(`an object is expected: {"ids":["…"]}`)
	case errors.As(err, &wrongType) || hasNull(body):
		return nil, errors.New("ids must be an array of strings")
	case err != nil:
		return nil, fmt.Errorf("malformed JSON: %w", err)
	case query.IDs == nil:
		return nil, errors.New(`no ids: {"ids":["…"]} is expected`)
	}
	return query.IDs, nil
}

// hasNull reports whether an id is null, which is an empty one for package
// json unless it is given pointers. Those make a batch of 1,000 a seventh
// slower, so only a body that has the word is read again.
func hasNull(body []byte) bool {
	if !bytes.Contains(body, []byte("null")) {
		return false
	}
	var query struct {
		IDs []*string `json:"ids"`
	}
	return json.Unmarshal(body, &query) == nil && slices.Contains(query.IDs, nil)
}

// appendLookup is the answer for ids, in their order; those that are unknown
// or no ids at all are given back as they came.
func (s *Server) appendLookup(shard *shard, f *reader.File, ids []string) ([]byte, error) {
	const typicalLen = 112 // bytes of a promotion as JSON
	missing := make([]string, 0)
	var found, unknown, malformed uint64
	body := append(make([]byte, 0, 64+typicalLen*len(ids)), `{"promotions":[`...)
	for _, id := range ids {
		var idBuf [format.TextLen]byte
		key, ok := reader.ParseID(append(idBuf[:0], id...))
		if !ok {
			malformed++
			missing = append(missing, id)
			continue
		}
		r, ok, err := f.Get(key)
		if err != nil {
			return nil, err
		}
		if !ok {
			unknown++
			missing = append(missing, id)
			continue
		}
		if found > 0 {
			body = append(body, ',')
		}
		found++
		body = s.opts.Style.AppendJSON(body, &r, f.Zones())
	}
	shard.lookups[lookupFound].Add(found)
	shard.lookups[lookupNotFound].Add(unknown)
	shard.lookups[lookupMalformed].Add(malformed)
	text, err := json.Marshal(missing)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	body = append(append(body, `],"not_found":`...), text...)
	return append(body, '}'), nil
}

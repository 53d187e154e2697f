package httpd

import (
	"encoding/json"
	"fmt"

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
	var query struct {
		IDs []string `json:"ids"`
	}
	if err := json.Unmarshal(ctx.Request.Body(), &query); err != nil {
		fail(ctx, fasthttp.StatusBadRequest, "malformed JSON: "+err.Error())
		return
	}
	if query.IDs == nil {
		fail(ctx, fasthttp.StatusBadRequest, `no ids: {"ids":["…"]} is expected`)
		return
	}
	if len(query.IDs) > maxLookupIDs {
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, fmt.Sprintf("%d ids, more than %d", len(query.IDs), maxLookupIDs))
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
	body, err := s.appendLookup(shard, f, query.IDs)
	if err != nil {
		s.readFailed(ctx, shard, f, err)
		return
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	// Not a copy in a buffer that fasthttp keeps: it may be 2 MB.
	ctx.Response.SetBodyRaw(body)
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

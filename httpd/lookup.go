package httpd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

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
	b := batches.Get().(*batch)
	sent := false
	defer func() {
		if !sent {
			b.free()
		}
	}()
	if err := b.parse(ctx.Request.Body()); err != nil {
		fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	if len(b.ids) > maxLookupIDs {
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, fmt.Sprintf("%d ids, more than %d", len(b.ids), maxLookupIDs))
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
	if err := b.lookup(f, s.opts.JSON); err != nil {
		s.readFailed(ctx, shard, f, err)
		return
	}
	for i, n := range b.counts {
		shard.lookups[i].Add(n)
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	// Not a copy in a buffer that fasthttp keeps for each connection: it may be
	// 2 MB.
	sent = true
	ctx.Response.SetBodyStream(b, b.Len())
}

// A batch is one request of many ids and its answer. It is the body of the
// answer too: fasthttp closes it once it is sent, which gives it back.
type batch struct {
	bytes.Reader // of answer

	ids     [][]byte // as they came; most share the memory of the request
	answer  []byte
	missing []byte // the JSON strings of those that were not found
	counts  [numLookups]uint64

	// One group, of which the keys are those of its ids that are ids.
	valid   [groupLen]bool
	keys    [groupLen]format.Key
	records [groupLen]format.Record
	found   [groupLen]bool
}

// groupLen is how many ids of a batch are looked up at a time: what is kept of
// them is 13 KiB, which stays in the cache nearest to the processor.
const groupLen = 256

// What a batch that nobody uses may keep: enough for 1,000 ids and their answer.
const (
	maxSpareIDs = 2_000
	maxSpareLen = 160 << 10 // bytes
)

var batches = sync.Pool{New: func() any { return new(batch) }}

// free gives b back. Nobody may use it any more.
func (b *batch) free() {
	clear(b.ids) // not to keep requests alive
	b.ids = b.ids[:0]
	if cap(b.ids) > maxSpareIDs {
		b.ids = nil
	}
	if cap(b.answer) > maxSpareLen {
		b.answer = nil
	}
	if cap(b.missing) > maxSpareLen {
		b.missing = nil
	}
	b.Reset(nil)
	batches.Put(b)
}

// lookup fills answer: the promotions of the ids in their order, and those ids
// that are unknown, or no ids at all, as they came.
func (b *batch) lookup(f *reader.File, opts format.JSONOptions) error {
	const typicalLen = 112 // bytes of a promotion as JSON
	b.counts = [numLookups]uint64{}
	b.missing = b.missing[:0]
	if need := 64 + typicalLen*len(b.ids); cap(b.answer) < need {
		b.answer = make([]byte, 0, need)
	}
	b.answer = append(b.answer[:0], `{"promotions":[`...)
	for ids := b.ids; len(ids) > 0; {
		n := min(len(ids), groupLen)
		if err := b.lookupGroup(f, opts, ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	b.answer = append(dropComma(b.answer), `],"not_found":[`...)
	b.answer = append(append(b.answer, dropComma(b.missing)...), "]}"...)
	b.Reset(b.answer)
	return nil
}

// lookupGroup does the next groupLen ids at most. Each promotion and each
// missing id has a comma behind it.
func (b *batch) lookupGroup(f *reader.File, opts format.JSONOptions, ids [][]byte) error {
	keys := b.keys[:0]
	for i, id := range ids {
		key, ok := reader.ParseID(id)
		b.valid[i] = ok
		if ok {
			keys = append(keys, key)
		}
	}
	if err := f.GetBatch(keys, b.records[:len(keys)], b.found[:len(keys)]); err != nil {
		return err
	}
	k := 0 // of the keys
	for i, id := range ids {
		result := lookupMalformed
		if b.valid[i] {
			result = lookupNotFound
			if b.found[k] {
				result = lookupFound
				b.answer = append(opts.AppendJSON(b.answer, &b.records[k], f.Styles()), ',')
			}
			k++
		}
		if result != lookupFound {
			b.missing = append(appendString(b.missing, id), ',')
		}
		b.counts[result]++
	}
	return nil
}

// dropComma takes the comma off the end of a list.
func dropComma(list []byte) []byte {
	if n := len(list); n > 0 && list[n-1] == ',' {
		return list[:n-1]
	}
	return list
}

// appendString appends text as package json does.
func appendString(dst, text []byte) []byte {
	for _, c := range text {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(string(text))
			if err != nil {
				panic("BUG: " + err.Error())
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), text...), '"')
}

// Close gives b back.
func (b *batch) Close() error {
	b.free()
	return nil
}

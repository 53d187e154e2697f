package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/reader"
)

// lookup answers POST /promotions/lookup, also with a hex digit after it: it looks
// up many IDs in one generation.
func (s *Server) lookup(ctx *fasthttp.RequestCtx, shard *shard) {
	if !ctx.IsPost() {
		notAllowed(ctx, "POST")
		return
	}
	if coding := ctx.Request.Header.ContentEncoding(); len(coding) > 0 && !bytes.EqualFold(coding, encodingIdentity) {
		s.ignoreBody(ctx)
		ctx.Response.Header.SetCanonical(headerAcceptEncoding, encodingIdentity)
		fail(ctx, fasthttp.StatusUnsupportedMediaType, "the body must not be encoded")
		return
	}
	body := receivedBody{admission: &s.admission}
	defer body.free()
	if err := body.read(ctx); err != nil {
		s.bodyFailed(ctx, err)
		return
	}
	a := answers.Get().(*answer)
	a.admission = &s.admission
	sent := false
	defer func() {
		if !sent {
			a.free()
		}
	}()
	if !a.reserve(answerLen(len(body.text))) || !s.admission.start() {
		s.busy(ctx)
		return
	}
	defer s.admission.running.Release(1)
	b := batches.Get().(*batch)
	defer b.free()
	switch err := b.parse(bytes.TrimPrefix(body.text, byteOrderMark)); {
	case errors.Is(err, errManyIDs), errors.Is(err, errLongID):
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	g := s.acquire(ctx)
	if g == nil {
		return
	}
	defer s.opts.Store.Release(g, ctx.ConnID())
	s.setGeneration(ctx, g)
	const typicalLen = 112 // of a promotion as JSON, in bytes
	b.answer = s.admission.buffers.get(min(64+typicalLen*len(b.ids), a.reserved))
	err := b.lookup(g, s.opts.JSON)
	a.text, b.answer = b.answer, nil
	switch {
	case errors.Is(err, reader.ErrForeign):
		s.misdirected(ctx, shard, g, b.foreign)
		return
	case err != nil:
		s.lookupFailed(ctx, shard, g, err)
		return
	}
	if !a.settle() {
		s.busy(ctx)
		return
	}
	for i, n := range b.counts {
		shard.lookups[i].Add(n)
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	// SetBody would copy up to 2 MB into a buffer that fasthttp keeps for each
	// connection.
	sent = true
	a.Reset(a.text)
	ctx.Response.SetBodyStream(a, a.Len())
}

// An answer is the body stream of the response to a lookup. It outlives the
// lookup until the client has read it.
type answer struct {
	bytes.Reader // of text

	text      []byte
	admission *admission
	reserved  int // bytes of the admission's memory
}

// answerLen returns the most bytes that the answer to a body of n bytes needs,
// unless JSON escapes its IDs: a promotion has 112 and its ID, quoted and
// followed by a comma, 35 or more.
func answerLen(n int) int { return bufferLen(64 + 4*n) }

// reserve reserves memory for n bytes.
func (a *answer) reserve(n int) bool {
	if !a.admission.reserve(n) {
		return false
	}
	a.reserved = n
	return true
}

// settle reserves as much as the text takes. It reports false if the text is
// longer than expected and there is no memory for it.
func (a *answer) settle() bool {
	n := cap(a.text) - a.reserved
	switch {
	case n < 0:
		a.admission.free(-n)
	case n > 0 && !a.admission.memory.TryAcquire(int64(n)):
		return false
	}
	a.reserved += n
	return true
}

// free returns the memory, and a to the pool. The caller must not use a again.
func (a *answer) free() {
	a.admission.free(a.reserved)
	a.admission.buffers.put(a.text)
	*a = answer{}
	answers.Put(a)
}

// Close frees a. fasthttp calls it after the answer was sent, or could not be
// sent.
func (a *answer) Close() error {
	a.free()
	return nil
}

var answers = sync.Pool{New: func() any { return new(answer) }}

// A batch is a lookup while it runs.
type batch struct {
	ids     [][]byte // as received; most share the memory of the request
	answer  []byte
	missing []byte // IDs not found, as JSON strings
	foreign []byte // the first ID of a shard that another server has, after ErrForeign
	counts  [numLookups]uint64

	// One group. The keys are those of its valid IDs.
	valid   [groupLen]bool
	keys    [groupLen]format.Key
	records [groupLen]format.Record
	found   [groupLen]bool
}

// groupLen is the number of IDs that are looked up at a time. Their keys,
// records and flags take 13 KiB, which fits into the L1 cache.
const groupLen = 256

// batches holds at most as many batches as lookups run at a time.
var batches = sync.Pool{New: func() any { return new(batch) }}

// An unused batch keeps at most these capacities: enough for 1,000 IDs.
const (
	maxSpareIDs     = 2_000
	maxSpareMissing = 64 << 10 // bytes
)

// free returns b to the pool. The caller must not use b again.
func (b *batch) free() {
	clear(b.ids) // drop the references to the request
	b.ids, b.foreign = b.ids[:0], nil
	if cap(b.ids) > maxSpareIDs {
		b.ids = nil
	}
	if cap(b.missing) > maxSpareMissing {
		b.missing = nil
	}
	batches.Put(b)
}

// lookup appends to answer: the promotions in the order of the IDs, and the unknown
// and malformed IDs as received. After reader.ErrForeign, foreign is set.
func (b *batch) lookup(g *reader.Generation, opts format.JSONOptions) error {
	b.counts = [numLookups]uint64{}
	b.missing = b.missing[:0]
	b.answer = append(b.answer, `{"promotions":[`...)
	for ids := b.ids; len(ids) > 0; {
		n := min(len(ids), groupLen)
		if err := b.lookupGroup(g, opts, ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	b.answer = append(dropComma(b.answer), `],"not_found":[`...)
	b.answer = append(append(b.answer, dropComma(b.missing)...), "]}\n"...)
	return nil
}

// lookupGroup looks up at most groupLen IDs. It writes a comma after each
// promotion and after each missing ID.
func (b *batch) lookupGroup(g *reader.Generation, opts format.JSONOptions, ids [][]byte) error {
	keys := b.keys[:0]
	for i, id := range ids {
		key, ok := reader.ParseID(id)
		b.valid[i] = ok
		if !ok {
			continue
		}
		if !g.Owns(key) {
			b.foreign = id
			return reader.ErrForeign
		}
		keys = append(keys, key)
	}
	if err := g.GetBatch(keys, b.records[:len(keys)], b.found[:len(keys)]); err != nil {
		return err
	}
	k := 0 // index in keys
	for i, id := range ids {
		result := lookupMalformed
		if b.valid[i] {
			result = lookupNotFound
			if b.found[k] {
				result = lookupFound
				b.answer = append(opts.AppendJSON(b.answer, &b.records[k], g.Styles()), ',')
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

// dropComma removes the comma at the end of list, if there is one.
func dropComma(list []byte) []byte {
	if n := len(list); n > 0 && list[n-1] == ',' {
		return list[:n-1]
	}
	return list
}

// appendString appends text as a JSON string, exactly as encoding/json does.
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

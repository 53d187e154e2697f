package httpd

import (
	"bytes"
	"encoding/json"
	"errors"
	"sync"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"promostore/format"
	"promostore/reader"
)

// lookup answers POST /promotions/lookup: it looks up many IDs in one generation.
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
	body := receivedBody{admission: &s.admission}
	defer body.free()
	if err := body.read(ctx); err != nil {
		s.bodyFailed(ctx, err)
		return
	}
	need := answerLen(len(body.text))
	if !s.admission.acquire(s.admission.memory, need) {
		s.busy(ctx)
		return
	}
	b := batches.Get().(*batch)
	b.memory, b.reserved = s.admission.memory, need
	sent := false
	defer func() {
		if !sent {
			b.free()
		}
	}()
	if !s.admission.acquire(s.admission.running, 1) {
		s.busy(ctx)
		return
	}
	defer s.admission.running.Release(1)
	switch err := b.parse(body.text); {
	case errors.Is(err, errManyIDs), errors.Is(err, errLongID):
		fail(ctx, fasthttp.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		fail(ctx, fasthttp.StatusBadRequest, err.Error())
		return
	}
	f := s.acquire(ctx)
	if f == nil {
		return
	}
	defer s.opts.Store.Release(f, ctx.ConnID())
	s.setGeneration(ctx, f)
	if err := b.lookup(f, s.opts.JSON); err != nil {
		s.lookupFailed(ctx, shard, f, err)
		return
	}
	if !b.settle() {
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
	ctx.Response.SetBodyStream(b, b.Len())
}

// A batch is a request for many IDs and its answer. It is also the body stream
// of the response: fasthttp calls Close once it is sent, which returns the batch
// to the pool.
type batch struct {
	bytes.Reader // of answer

	ids     [][]byte // as received; most share the memory of the request
	answer  []byte
	missing []byte // IDs not found, as JSON strings
	counts  [numLookups]uint64

	memory   *semaphore.Weighted
	reserved int // bytes of memory, until free

	// One group. The keys are those of its valid IDs.
	valid   [groupLen]bool
	keys    [groupLen]format.Key
	records [groupLen]format.Record
	found   [groupLen]bool
}

// groupLen is the number of IDs that are looked up at a time. Their keys,
// records and flags take 13 KiB, which fits into the L1 cache.
const groupLen = 256

// An unused batch keeps at most these capacities: enough for 1,000 IDs and
// their answer.
const (
	maxSpareIDs = 2_000
	maxSpareLen = 160 << 10 // bytes
)

var batches = sync.Pool{New: func() any { return new(batch) }}

// answerLen returns the most bytes that the answer to a body of n bytes needs,
// unless JSON escapes its IDs: a promotion has 112 and its ID, quoted and
// followed by a comma, 35 or more.
func answerLen(n int) int { return 64 + 4*n }

// settle frees all memory except for the answer, and reserves as much as that
// takes. It reports false if the answer is longer than expected and there is no
// memory for it.
func (b *batch) settle() bool {
	b.dropIDs()
	if cap(b.missing) > maxSpareLen {
		b.missing = nil
	}
	n := cap(b.answer) + cap(b.missing) - b.reserved
	if n > 0 && !b.memory.TryAcquire(int64(n)) {
		return false
	}
	if n < 0 {
		b.memory.Release(int64(-n))
	}
	b.reserved += n
	return true
}

// dropIDs drops the references to the request.
func (b *batch) dropIDs() {
	clear(b.ids)
	b.ids = b.ids[:0]
	if cap(b.ids) > maxSpareIDs {
		b.ids = nil
	}
}

// free returns b to the pool. The caller must not use b again.
func (b *batch) free() {
	if b.reserved > 0 {
		b.memory.Release(int64(b.reserved))
		b.reserved = 0
	}
	b.dropIDs()
	if cap(b.answer) > maxSpareLen {
		b.answer = nil
	}
	if cap(b.missing) > maxSpareLen {
		b.missing = nil
	}
	b.Reset(nil)
	batches.Put(b)
}

// lookup fills answer: the promotions in the order of the IDs, and the unknown
// and malformed IDs as received.
func (b *batch) lookup(f *reader.File, opts format.JSONOptions) error {
	b.counts = [numLookups]uint64{}
	b.missing = b.missing[:0]
	const typicalLen = 112 // of a promotion as JSON, in bytes
	if need := min(64+typicalLen*len(b.ids), b.reserved); cap(b.answer) < need {
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
	b.answer = append(append(b.answer, dropComma(b.missing)...), "]}\n"...)
	b.Reset(b.answer)
	return nil
}

// lookupGroup looks up at most groupLen IDs. It writes a comma after each
// promotion and after each missing ID.
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
	k := 0 // index in keys
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

// Close returns b to the pool.
func (b *batch) Close() error {
	b.free()
	return nil
}

package httpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/valyala/fasthttp"
)

const etagLen = len(`"0123456789abcdef"`)

// appendETag appends the entity tag of body. It depends on nothing else, so
// it outlives a generation that left the record alone and is the same on every
// server.
func appendETag(dst, body []byte) []byte {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], digest(body))
	return append(hex.AppendEncode(append(dst, '"'), sum[:]), '"')
}

// digest is a hash of 64 bits, for what nobody tampers with. It takes eight
// bytes at a time, the last ones filled up with zeros.
//
// Each step is a bijection of the state, and of the eight bytes that it takes:
// bodies of one length that differ in one such word alone always have
// different digests, others do but for one in 2^64.
//
// It needs no table: between two requests the kernel has the caches to itself,
// and what was in them has to be read again.
func digest(body []byte) uint64 {
	const (
		odd1 = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio
		odd2 = 0xBF58476D1CE4E5B9 // of the finalizer of SplitMix64
	)
	h := uint64(len(body)) * odd2
	for len(body) >= 8 {
		h = (h ^ binary.LittleEndian.Uint64(body)) * odd1
		h ^= h >> 32
		body = body[8:]
	}
	var tail [8]byte
	copy(tail[:], body)
	h = (h ^ binary.LittleEndian.Uint64(tail[:])) * odd1
	h = (h ^ h>>32) * odd2
	return h ^ h>>29
}

// notModified reports whether the client has what tag names (RFC 9110,
// section 13.1.2).
func notModified(h *fasthttp.RequestHeader, tag []byte) bool {
	if len(h.PeekCanonical(headerIfNoneMatch)) == 0 {
		return false
	}
	for _, line := range h.PeekAll("If-None-Match") {
		if matchesETag(line, tag) {
			return true
		}
	}
	return false
}

// matchesETag reports whether list, the value of an If-None-Match, has tag or
// is a star. It compares weakly. What follows a syntax error is not read.
func matchesETag(list, tag []byte) bool {
	if string(bytes.Trim(list, " \t")) == "*" {
		return true
	}
	for {
		list = bytes.TrimLeft(list, " \t,")
		list = bytes.TrimPrefix(list, []byte("W/"))
		if len(list) == 0 || list[0] != '"' {
			return false
		}
		end := bytes.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		end += len(`""`)
		if bytes.Equal(list[:end], tag) {
			return true
		}
		list = list[end:]
	}
}

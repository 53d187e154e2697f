package httpd

import (
	"bytes"
	"hash/crc32"
	"strconv"

	"github.com/valyala/fasthttp"

	"promostore/format"
)

const etagLen = len(`"0123456789abcdef"`)

// appendETag appends the entity tag of body. It depends on nothing else, so
// it outlives a generation that left the record alone and is the same on every
// server.
//
// Two CRCs over different polynomials are one of 64 bits over their product.
// So a change that lies within eight bytes, such as that of a price, always
// changes the tag; others do but for one in 2^64.
func appendETag(dst, body []byte) []byte {
	sum := uint64(format.Checksum(body))<<32 | uint64(crc32.ChecksumIEEE(body))
	dst = append(dst, `"0000000000000000"`...)
	var digits [16]byte
	hex := strconv.AppendUint(digits[:0], sum, 16)
	copy(dst[len(dst)-1-len(hex):], hex)
	return dst
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

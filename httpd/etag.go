package httpd

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
	"github.com/valyala/fasthttp"
)

const etagLen = len(`"0123456789abcdef"`)

// appendETag appends the entity tag of body, a hash of 64 bits. The tag depends
// on nothing else: it is the same on every server, and it remains the same in a
// later generation that does not change the record.
func appendETag(dst, body []byte) []byte {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], xxhash.Sum64(body))
	return append(hex.AppendEncode(append(dst, '"'), sum[:]), '"')
}

// notModified reports whether an If-None-Match header of the request matches
// tag (RFC 9110, section 13.1.2).
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

// matchesETag reports whether list, the value of an If-None-Match header, is "*"
// or contains tag, possibly with a suffix of isCompressed. The comparison is weak.
// It stops at a syntax error.
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
		if bytes.Equal(list[:end], tag) || isCompressed(list[:end], tag) {
			return true
		}
		list = list[end:]
	}
}

// isCompressed reports whether got is tag with a suffix that a proxy appends when
// it compresses the body: "…-gzip" of Apache httpd and Caddy, "…--gzip" of Jetty.
// Some proxies do not remove it from the request.
func isCompressed(got, tag []byte) bool {
	suffix, ok := bytes.CutPrefix(got, tag[:len(tag)-1])
	if !ok {
		return false
	}
	switch string(bytes.TrimPrefix(suffix, []byte("-"))) {
	case `-gzip"`, `-br"`, `-zstd"`, `-deflate"`, `gzip"`, `br"`, `zstd"`, `deflate"`:
		return suffix[0] == '-'
	}
	return false
}

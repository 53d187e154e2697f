package httpd

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

var (
	headerTransferEncoding = []byte("Transfer-Encoding")
	codingChunked          = []byte("chunked")
)

// isAmbiguous reports whether where the request ends depends on who reads it.
// fasthttp refuses all such requests but those with a transfer coding of
// "identity", which it passes over. RFC 9112, section 6.3, wants them refused:
// a proxy in front may see another request in what follows.
func isAmbiguous(h *fasthttp.RequestHeader) bool {
	for lines := h.RawHeaders(); len(lines) > 0; {
		if n := len(headerTransferEncoding); len(lines) > n && lines[0]|0x20 == 't' &&
			bytes.EqualFold(lines[:n], headerTransferEncoding) &&
			(lines[n] == ':' || lines[n] == ' ' || lines[n] == '\t') && // else the name goes on
			!bytes.Equal(h.PeekBytes(headerTransferEncoding), codingChunked) {
			return true
		}
		end := bytes.IndexByte(lines, '\n')
		if end < 0 {
			return false
		}
		lines = lines[end+1:]
	}
	return false
}

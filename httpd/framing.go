package httpd

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

var (
	headerTransferEncoding = []byte("Transfer-Encoding")
	codingChunked          = []byte("chunked")
)

// isAmbiguous reports whether two servers could disagree about the end of a
// request. RFC 9112, section 6.3, demands that such a request is rejected,
// because a proxy may see another request in the bytes that follow. fasthttp
// rejects all of them except for the transfer coding "identity", which it
// ignores.
func isAmbiguous(h *fasthttp.RequestHeader) bool {
	for lines := h.RawHeaders(); len(lines) > 0; {
		if n := len(headerTransferEncoding); len(lines) > n && lines[0]|0x20 == 't' &&
			bytes.EqualFold(lines[:n], headerTransferEncoding) &&
			(lines[n] == ':' || lines[n] == ' ' || lines[n] == '\t') && // the name ends here
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

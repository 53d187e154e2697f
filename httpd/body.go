package httpd

import (
	"errors"
	"io"
	"sync"

	"github.com/valyala/fasthttp"
)

// bodyLen is the size of the first buffer of a body. It is the only memory that
// a client gets for a body that it announces and does not send.
const bodyLen = 4 << 10

// firstBodies holds buffers of bodyLen bytes.
var firstBodies = sync.Pool{New: func() any { return new([bodyLen]byte) }}

// errBusy reports that the limits of all lookups leave no room for another.
var errBusy = errors.New("too many lookups are under way")

// A receivedBody is the body of a request. Its memory grows with the received
// bytes and not with the announced length, which fasthttp would allocate at once.
type receivedBody struct {
	text      []byte
	admission *admission

	first *[bodyLen]byte // nil if the text outgrew it
	long  []byte         // nil unless the text outgrew first; counted in the admission's memory
}

// read receives the body of ctx.
func (b *receivedBody) read(ctx *fasthttp.RequestCtx) error {
	length := ctx.Request.Header.ContentLength() // negative if unknown
	if length > maxBodyBytes {
		return fasthttp.ErrBodyTooLarge
	}
	stream := ctx.RequestBodyStream()
	if stream == nil { // no body, or a test that set it
		b.text = ctx.Request.Body()
		return nil
	}
	b.first = firstBodies.Get().(*[bodyLen]byte)
	b.text = b.first[:0]
	for {
		if len(b.text) == cap(b.text) {
			if err := b.grow(length); err != nil {
				return err
			}
		}
		n, err := stream.Read(b.text[len(b.text):cap(b.text)])
		b.text = b.text[:len(b.text)+n]
		switch {
		case len(b.text) > maxBodyBytes:
			return fasthttp.ErrBodyTooLarge
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// grow moves the text to a larger buffer. The length of the body is negative if
// it is unknown.
func (b *receivedBody) grow(length int) error {
	const factor = 4 // all buffers of a body together take 4/3 of the last one
	size := min(factor*cap(b.text), maxBodyBytes+1)
	if length > cap(b.text) {
		size = min(size, length)
	}
	if !b.admission.reserve(bufferLen(size)) {
		return errBusy
	}
	long := b.admission.buffers.get(size)
	long = append(long, b.text...)
	b.free()
	b.long, b.text = long, long
	return nil
}

// free returns the memory. The text is invalid after it. A second call does
// nothing.
func (b *receivedBody) free() {
	if b.long != nil {
		b.admission.free(cap(b.long))
		b.admission.buffers.put(b.long)
	}
	if b.first != nil {
		firstBodies.Put(b.first)
	}
	b.first, b.long, b.text = nil, nil, nil
}

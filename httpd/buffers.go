package httpd

import "math/bits"

// The lengths of the buffers that a bufferPool keeps are the powers of two from
// minBufferLen to maxBufferLen. The answer to 1,000 IDs takes 128 KiB. It keeps
// at most spareLen bytes of each length, 3 MiB in all.
const (
	minBufferLen = 8 << 10
	maxBufferLen = 256 << 10
	spareLen     = 512 << 10
)

// A bufferPool holds unused buffers of lookups. Unlike a sync.Pool it is
// bounded: after a rush of lookups, a sync.Pool holds the buffers of all of them,
// and the garbage collector lets the heap grow to twice as much.
type bufferPool [6]chan []byte

func newBufferPool() (p bufferPool) {
	for i := range p {
		p[i] = make(chan []byte, spareLen/(minBufferLen<<i))
	}
	return p
}

// bufferLen returns the capacity of the buffer that get returns for n bytes.
func bufferLen(n int) int {
	switch {
	case n <= minBufferLen:
		return minBufferLen
	case n <= maxBufferLen:
		return 1 << bits.Len(uint(n-1))
	default:
		const page = 8 << 10 // the runtime allocates multiples of it
		return (n + page - 1) &^ (page - 1)
	}
}

// spares returns the unused buffers of a capacity, or nil if the pool keeps none.
func (p *bufferPool) spares(capacity int) chan []byte {
	if capacity < minBufferLen || capacity > maxBufferLen || capacity&(capacity-1) != 0 {
		return nil
	}
	return p[bits.Len(uint(capacity/minBufferLen))-1]
}

// get returns an empty buffer for n bytes.
func (p *bufferPool) get(n int) []byte {
	n = bufferLen(n)
	select {
	case b := <-p.spares(n): // never, if nil
		return b[:0]
	default:
		return make([]byte, 0, n)
	}
}

// put returns a buffer to the pool. The caller must not use it again.
func (p *bufferPool) put(b []byte) {
	select {
	case p.spares(cap(b)) <- b:
	default:
	}
}

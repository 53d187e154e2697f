package gunzip

import (
	"encoding/binary"
	"io"
)

const (
	inLen   = 64 << 10  // bytes of input that are read at once
	inMask  = 1<<17 - 1 // for indices: saves the checks of bounds
	inSlack = 64        // zeros after the end of the input

	// minBits is the number of bits that a refill leaves at least.
	minBits = 56

	wordLen = 8 // bytes
)

// A bitReader reads a stream as a number whose lowest bits come first. Before
// the end of the stream it never loads bytes that it has not read: loaded bits
// above count are true, and are loaded again.
//
// After the end zeros follow. They may be taken, after which overrun reports
// true.
type bitReader struct {
	word  uint64 // the next bits
	count uint   // of valid bits in word

	pos, limit int   // of buf: the next byte to load; the end of the bytes that have been read
	before     int64 // bytes of the stream before buf
	eof        bool
	src        io.Reader
	srcErr     error // of a read of src
	buf        [inMask + 1 + inSlack]byte
}

func (b *bitReader) reset(src io.Reader) {
	b.word, b.count, b.pos, b.limit, b.before, b.eof = 0, 0, 0, 0, 0, false
	b.src, b.srcErr = src, nil
}

// ensure reads until inSlack bytes can be loaded, or until the stream ends.
func (b *bitReader) ensure() error { return b.fetch(inSlack) }

// fetch reads until n bytes can be loaded, at most inLen, or until the stream
// ends.
func (b *bitReader) fetch(n int) error {
	if b.eof || b.limit-b.pos >= n {
		return b.srcErr
	}
	keep := min(b.pos, wordLen) // for unload
	b.before += int64(b.pos - keep)
	b.limit = copy(b.buf[:], b.buf[b.pos-keep:b.limit])
	b.pos = keep
	for b.limit-keep < n && b.srcErr == nil {
		m, err := b.src.Read(b.buf[b.limit : keep+inLen])
		b.limit += m
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is an error
			b.eof = true
			clear(b.buf[b.limit : b.limit+2*inSlack])
			return nil
		}
		b.srcErr = err
	}
	return b.srcErr
}

// refill makes at least minBits bits available. The caller has called ensure.
func (b *bitReader) refill() {
	b.word |= binary.LittleEndian.Uint64(b.buf[b.pos:]) << (b.count & 63)
	b.pos += int((63 - b.count) >> 3)
	b.count |= minBits
}

// need makes n bits available, at most minBits. After a failed read, or far
// beyond the end of the stream, these are zeros.
func (b *bitReader) need(n uint) {
	if b.count >= n {
		return
	}
	if b.ensure() != nil || b.pos > b.limit+inSlack {
		b.word, b.count = 0, minBits
		return
	}
	b.refill()
}

// take returns the next n bits, at most minBits. The caller checks failed.
func (b *bitReader) take(n uint) uint64 {
	b.need(n)
	v := b.word & (1<<n - 1)
	b.drop(n)
	return v
}

// drop removes n bits that are available.
func (b *bitReader) drop(n uint) {
	b.word >>= n
	b.count -= n
}

// align drops bits up to the next byte.
func (b *bitReader) align() { b.drop(b.count & 7) }

// unload gives back the loaded bytes. The position must be that of a byte.
func (b *bitReader) unload() {
	b.pos -= int(b.count >> 3)
	b.word, b.count = 0, 0
}

// atEnd reports whether the stream ends at the position, which must be that of a
// byte.
func (b *bitReader) atEnd() (bool, error) {
	b.need(8)
	return b.eof && b.left() <= 0, b.srcErr
}

// used returns the number of bits of buf that have been taken.
func (b *bitReader) used() int { return b.pos*8 - int(b.count) }

// left returns the number of bits of buf that have not been taken. After the end
// of the stream it is negative.
func (b *bitReader) left() int { return b.limit*8 - b.used() }

// overrun reports whether bits were taken that the stream does not have.
func (b *bitReader) overrun() bool { return b.eof && b.left() < 0 }

// failed reports whether bits were taken that the stream does not have, or that
// could not be read.
func (b *bitReader) failed() bool { return b.srcErr != nil || b.overrun() }

// offset returns the number of bytes of the stream that have been taken.
func (b *bitReader) offset() int64 { return b.before + int64(b.used()>>3) }

// end returns the length of the stream, which has been read to its end.
func (b *bitReader) end() int64 { return b.before + int64(b.limit) }

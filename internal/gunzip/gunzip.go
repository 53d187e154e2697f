// Package gunzip decompresses gzip streams (RFC 1952) faster than the general
// decompressors for Go do.
//
// It is made for text of which most bytes are short matches, like CSV: at
// gzip -1, of 50 symbols of a file of promotions 48 are matches, and most of
// these have length 3. Therefore one access to a table of 2^11 entries decodes
// a whole match, its length and its distance, if the two codes together have at
// most 11 bits. Otherwise it decodes up to three literals, or a length alone.
// See table.go for the entries and inflate.go for the loop.
//
// At gzip -6 matches and literals alternate without a pattern, and mispredicted
// branches take most of the time. The lengths of the codes of a block tell how
// frequent matches are; if they are not, the loop begins with literals, none or
// more, without a branch.
//
// Three further choices keep the loop short. The bits are in a word of 64,
// which is refilled without a branch. All input ends with zeros, so that the
// loop has no second form for the end: a stream that has used bits beyond its
// end is truncated. Copies have 16 bytes and may write beyond the end of a
// match.
//
// Longer codes, end of block and invalid codes take a slow path, which decodes a
// canonical code by comparing it with the first code of each length.
//
// Other designs were not faster: literals and a length in one entry, entries of 64
// bits, copies of 32 bytes, tables of 12 or 13 bits, and literals without a branch
// in dense blocks too, which takes 75 % more time at gzip -1.
//
// One member is decompressed by one goroutine. A [BlockReader] decompresses
// several members at the same time if they tell their lengths, as those of BGZF
// data do.
//
// Sources: RFC 1951 and RFC 1952. BGZF: Sequence Alignment/Map Format
// Specification, section 4.1. Schwartz and Kallick, "Generating a canonical
// prefix encoding", Communications of the ACM 7 (1964), for the slow path. The
// word of bits refilled without a branch is variant 4 of Fabian Giesen, "Reading
// bits in far too many ways" (2018). Libdeflate by Eric Biggers decodes the
// extra bits together with the code, and several literals at a time.
package gunzip

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The causes of an [Error], beside io.ErrUnexpectedEOF for a truncated stream.
var (
	ErrHeader   = errors.New("invalid gzip header")
	ErrTrailing = errors.New("other data follows")
	ErrCorrupt  = errors.New("invalid deflate data")
	ErrChecksum = errors.New("wrong checksum")
	ErrLength   = errors.New("wrong length")
)

// An Error reports a gzip stream that cannot be decompressed.
type Error struct {
	Offset int64 // bytes of the compressed stream before the place where the damage was noticed
	Cause  error
}

func (e *Error) Error() string {
	cause := e.Cause.Error()
	if errors.Is(e.Cause, io.ErrUnexpectedEOF) {
		cause = "truncated"
	}
	return fmt.Sprintf("%s at byte %d", cause, e.Offset)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Sizes of the window of output. Matches reach back for windowLen bytes. The
// output is checked and handed over in chunks.
const (
	windowLen = 32 << 10 // RFC 1951, section 2
	chunkLen  = 128 << 10
	outLimit  = windowLen + chunkLen
	outMask   = 1<<18 - 1 // for indices: saves the checks of bounds

	// One turn of the decoding loop writes at most three literals twice and two
	// matches, and copies in steps of 16 bytes.
	turnLen = 2*4 + 2*(maxMatch+copyLen)
)

const _ = uint(outMask + 1 - outLimit - turnLen) // not negative

type state uint8

const (
	betweenMembers state = iota
	inBlockHeader
	inStored
	inCodes // of a block with fixed or dynamic codes
	inTrailer
)

// A Reader decompresses a series of gzip members. Next goes to the first member
// and to each following one; Read reads its data. A Reader accepts and refuses
// the streams that compress/gzip does, with one difference: zeros after the last
// member are ignored, like the gzip command does. It is not safe for concurrent
// use.
//
// A Reader takes 420 KiB.
type Reader struct {
	bits bitReader
	err  error // of the stream; ends it

	from, to int // of out: decompressed bytes that have not been read
	base     int // of out: the first byte of the member, to which matches may reach back

	state   state
	last    bool // the block is the last of its member
	stored  int  // bytes left of a stored block
	members int
	crc     uint32 // of the member
	size    uint32 // of the member, modulo 2^32

	codes   *codes // of the block
	dynamic codes
	out     [outMask + 1 + copyLen]byte
}

// NewReader returns a Reader of src. It reads nothing before the first Next.
func NewReader(src io.Reader) *Reader {
	r := &Reader{}
	r.Reset(src)
	return r
}

// Reset makes r read from src, as if r were new.
func (r *Reader) Reset(src io.Reader) {
	r.bits.reset(src)
	r.err = nil
	r.from, r.to, r.base = windowLen, windowLen, windowLen
	r.state, r.members = betweenMembers, 0
}

// Next goes to the next member, after Read has returned io.EOF for the one
// before. It returns io.EOF if there is none, which is no error even for an
// empty stream. Other errors are those of Read.
func (r *Reader) Next() error {
	if r.err == nil {
		r.end(r.header())
	}
	return r.err
}

// Read returns decompressed bytes of the member. It returns io.EOF at its end,
// after the checksum and the length have been compared. It returns an error of
// the source as it is, and an *Error for damaged data; the last bytes before the
// damage are missing then.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.from == r.to {
		if r.err == nil && r.state != betweenMembers {
			r.fill()
		}
		if r.from == r.to {
			if r.err != nil {
				return 0, r.err
			}
			return 0, io.EOF
		}
	}
	n := copy(p, r.out[r.from:r.to])
	r.from += n
	return n, nil
}

// fill decompresses a chunk, or less if the member ends.
func (r *Reader) fill() {
	if r.to >= outLimit {
		n := copy(r.out[:], r.out[r.to-windowLen:r.to])
		r.base = max(0, r.base-(r.to-n))
		r.from, r.to = n, n
	}
	start := r.to
	if err := r.decompress(); err != nil {
		r.to = start // not in the checksum
		r.end(err)
	}
}

// end sets the error that ends the stream.
func (r *Reader) end(err error) {
	switch {
	case err == nil:
	case r.bits.srcErr != nil:
		r.err = r.bits.srcErr
	case r.bits.overrun():
		r.err = &Error{r.bits.end(), io.ErrUnexpectedEOF}
	case err == io.EOF: //nolint:errorlint // of header, which does not wrap it
		r.err = io.EOF
	default:
		r.err = &Error{r.bits.offset(), err}
	}
}

// decompress decompresses until the chunk is full or the member ends.
func (r *Reader) decompress() (err error) {
	summed := r.to // the bytes before it are part of the checksum
	sum := func() {
		r.crc = crc32.Update(r.crc, crc32.IEEETable, r.out[summed:r.to])
		r.size += uint32(r.to - summed)
		summed = r.to
	}
	for r.to < outLimit && err == nil && r.state != betweenMembers {
		switch r.state {
		case inBlockHeader:
			err = r.blockHeader()
		case inStored:
			err = r.copyStored()
		case inCodes:
			err = r.inflate()
		case inTrailer:
			sum()
			err = r.trailer()
		}
	}
	if err == nil {
		sum()
	}
	return err
}

// The header of a member, RFC 1952, section 2.3.1: its first two bytes, the only
// method of compression, and the flags.
const (
	magic         = 0x8B1F
	methodDeflate = 8

	flagHeaderCRC = 1 << 1
	flagExtra     = 1 << 2
	flagName      = 1 << 3
	flagComment   = 1 << 4
)

// maxName is one more than the longest name or comment that compress/gzip
// accepts.
const maxName = 512

// header reads the header of a member. It returns io.EOF if the stream ends
// before it.
func (r *Reader) header() error {
	b := &r.bits
	atEnd, err := b.atEnd()
	if err != nil || atEnd {
		return orEOF(err)
	}
	if r.members > 0 {
		b.need(16)
		switch start := b.word & 0xFFFF; {
		case start&0xFF == 0:
			return r.padding()
		case start&0xFF != magic&0xFF, start != magic && b.left() > 8:
			return ErrTrailing
		}
	}
	crc := ^uint32(0)
	next := func() byte {
		c := byte(b.take(8))
		crc = crc32.IEEETable[byte(crc)^c] ^ crc>>8
		return c
	}
	var h [10]byte
	for i := range h {
		h[i] = next()
	}
	if b.failed() {
		return io.ErrUnexpectedEOF
	}
	if uint64(h[0])|uint64(h[1])<<8 != magic || h[2] != methodDeflate {
		return ErrHeader
	}
	flags := h[3]
	if flags&flagExtra != 0 {
		n := int(next())
		for n |= int(next()) << 8; n > 0 && !b.failed(); n-- {
			next()
		}
	}
	for _, flag := range []byte{flagName, flagComment} {
		if flags&flag == 0 {
			continue
		}
		for n := 0; next() != 0 && !b.failed(); n++ {
			if n == maxName-1 {
				return ErrHeader
			}
		}
	}
	if flags&flagHeaderCRC != 0 {
		want := uint16(^crc)
		if uint16(b.take(16)) != want && !b.failed() {
			return ErrHeader
		}
	}
	if b.failed() {
		return io.ErrUnexpectedEOF
	}
	r.state, r.last, r.crc, r.size = inBlockHeader, false, 0, 0
	r.from, r.to, r.base = windowLen, windowLen, windowLen // no match reaches back further
	r.members++
	return nil
}

// padding reads zeros until the end of the stream. Tapes and some archives have
// them.
func (r *Reader) padding() error {
	for {
		if atEnd, err := r.bits.atEnd(); err != nil || atEnd {
			return orEOF(err)
		}
		if r.bits.word&0xFF != 0 {
			return ErrTrailing
		}
		r.bits.drop(8)
	}
}

// orEOF returns err, or io.EOF if err is nil.
func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// trailer compares the checksum and the length of a member.
func (r *Reader) trailer() error {
	r.bits.align()
	crc, size := uint32(r.bits.take(32)), uint32(r.bits.take(32))
	switch {
	case r.bits.failed():
		return io.ErrUnexpectedEOF
	case crc != r.crc:
		return ErrChecksum
	case size != r.size:
		return ErrLength
	}
	r.state = betweenMembers
	return nil
}

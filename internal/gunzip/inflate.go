package gunzip

import (
	"encoding/binary"
	"io"
	"sync"
)

// copyLen is the number of bytes of one step of a copy.
const copyLen = 16

// The fast loop relies on these budgets of bits. A refill leaves minBits.
const (
	fusedBits = tableBits + maxExtraDist // the most of a match that is one entry

	// A turn drops a match and two entries of literals, or looks up the entry
	// of a second match. Without the first match, it drops three entries of
	// literals, or looks up the entry of a match.
	_ = uint(minBits - fusedBits - 2*tableBits)
	_ = uint(minBits - 3*tableBits)

	// A length, its distance by an entry of distTable.
	apartBits = tableBits + distBits + maxExtraDist
	_         = uint(minBits - apartBits)

	// A turn refills three times. A refill loads 8 bytes, of which it keeps at most 7.
	turnIn = 2*7 + 8
	_      = uint(inSlack - turnIn)
)

// inflate decodes the symbols of a block until the block ends or the chunk is
// full.
func (r *Reader) inflate() error {
	for r.state == inCodes && r.to < outLimit {
		if err := r.bits.ensure(); err != nil {
			return err
		}
		r.inflateFast()
		if r.to < outLimit {
			if err := r.symbol(); err != nil {
				return err
			}
		}
	}
	return nil
}

// inflateFast decodes symbols until the chunk is full, less than turnIn bytes of
// input are left, or a symbol comes that needs the slow path. It calls no
// function that is not inlined, so that its variables stay in registers.
//
// A turn of a dense block begins with a match, if the next symbol is one. A turn
// of another block begins with up to three literals, without a branch, because
// no processor can predict whether the next symbol is a match: a quarter less time
// at gzip -6.
func (r *Reader) inflateFast() {
	b, codes, out, base := &r.bits, r.codes, &r.out, r.base
	in, table := &b.buf, &codes.table
	pos, word, count, to := b.pos, b.word, uint64(b.count), r.to
	end, dense := b.limit-turnIn, codes.dense
	for pos < end && to < outLimit {
		pos, word, count = refill(in, pos, word, count)

		e := table[word&(1<<tableBits-1)]
		if !dense {
			binary.LittleEndian.PutUint32(out[to&outMask:to&outMask+4], uint32(e>>8))
			to += e.literals()
			word >>= e.litDrop()
			count -= e.litDrop()
			e = table[word&(1<<tableBits-1)]
		} else if e.isMatch() {
			d := &distances[e>>12&31]
			distance := int(d.base + uint32(word>>e.distCode())&d.mask)
			from := to - distance
			if distance < copyLen || from < base {
				break
			}
			word >>= e.drop()
			count -= e.drop()
			stop := to + e.length()
			e = table[word&(1<<tableBits-1)]
			copyFar(out, to, from, stop)
			to = stop
		}
		if e.isLiteral() {
			binary.LittleEndian.PutUint32(out[to&outMask:to&outMask+4], uint32(e>>8))
			to += e.literals()
			word >>= e.litDrop()
			count -= e.litDrop()
			e = table[word&(1<<tableBits-1)]
			if e.isLiteral() {
				binary.LittleEndian.PutUint32(out[to&outMask:to&outMask+4], uint32(e>>8))
				to += e.literals()
				word >>= e.litDrop()
				count -= e.litDrop()
				continue
			}
		}
		if count < fusedBits {
			pos, word, count = refill(in, pos, word, count)
		}
		stop, drop, shift := to+e.length(), e.drop(), e.distCode()
		if !e.isMatch() {
			if e&slow != 0 {
				break
			}
			if count < apartBits {
				pos, word, count = refill(in, pos, word, count)
			}
			e = codes.distTable[word>>drop&(1<<distBits-1)]
			if e&slow != 0 {
				break
			}
			shift = drop + e.distCode()
			drop += e.drop()
		}
		d := &distances[e>>12&31]
		distance := int(d.base + uint32(word>>(shift&63))&d.mask)
		from := to - distance
		if distance < copyLen || from < base {
			break
		}
		word >>= drop & 63
		count -= drop
		copyFar(out, to, from, stop)
		to = stop
	}
	b.pos, b.word, b.count = pos, word, uint(count)
	r.to = to
}

// refill makes at least minBits bits of word available, like bitReader.refill.
func refill(in *[inMask + 1 + inSlack]byte, pos int, word, count uint64) (int, uint64, uint64) {
	word |= binary.LittleEndian.Uint64(in[pos&inMask:pos&inMask+8]) << (count & 63)
	return pos + int((63-count)>>3), word, count | minBits
}

// copyFar copies out[from:] to out[to:stop], and up to copyLen bytes more. The
// distance is copyLen or more.
func copyFar(out *[outMask + 1 + copyLen]byte, to, from, stop int) {
	*(*[copyLen]byte)(out[to&outMask : to&outMask+copyLen]) = *(*[copyLen]byte)(out[from&outMask : from&outMask+copyLen])
	for to += copyLen; to < stop; to += copyLen {
		from += copyLen
		*(*[copyLen]byte)(out[to&outMask : to&outMask+copyLen]) = *(*[copyLen]byte)(out[from&outMask : from&outMask+copyLen])
	}
}

// symbol decodes one symbol by its code.
func (r *Reader) symbol() error {
	b := &r.bits
	b.need(maxCodeLen + maxExtraLen)
	symbol, n, ok := r.codes.lit.decode(b.word)
	if !ok || symbol >= firstLen+numLens {
		return ErrCorrupt
	}
	b.drop(n)
	switch {
	case symbol < endOfBlock:
		r.out[r.to] = byte(symbol)
		r.to++
	case symbol == endOfBlock:
		r.state = inBlockHeader
	default:
		l := lengths[symbol-firstLen]
		stop := r.to + int(l.base) + int(b.take(l.extra()))
		b.need(maxCodeLen + maxExtraDist)
		symbol, n, ok := r.codes.dist.decode(b.word)
		if !ok || symbol >= numDists {
			return ErrCorrupt
		}
		b.drop(n)
		d := distances[symbol]
		from := r.to - int(d.base) - int(b.take(d.extra()))
		if from < r.base {
			return ErrCorrupt
		}
		for r.to < stop { // twice as much each time if the two overlap
			r.to += copy(r.out[r.to:stop], r.out[from:r.to])
		}
	}
	if b.failed() {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// blockHeader reads the header of a block, or ends the blocks of the member.
func (r *Reader) blockHeader() error {
	if r.last {
		r.state = inTrailer
		return nil
	}
	b := &r.bits
	r.last = b.take(1) == 1
	switch b.take(2) {
	case 0:
		b.align()
		n := b.take(32)
		if b.failed() {
			return io.ErrUnexpectedEOF
		}
		if uint16(n) != ^uint16(n>>16) {
			return ErrCorrupt
		}
		b.unload()
		r.stored, r.state = int(uint16(n)), inStored
	case 1:
		r.codes, r.state = fixedCodes(), inCodes
	case 2:
		r.codes, r.state = &r.dynamic, inCodes
		return r.dynamicCodes()
	default:
		return ErrCorrupt
	}
	return nil
}

// copyStored copies the bytes of a stored block.
func (r *Reader) copyStored() error {
	b := &r.bits
	for r.stored > 0 && r.to < outLimit {
		if err := b.ensure(); err != nil {
			return err
		}
		n := min(r.stored, outLimit-r.to, b.limit-b.pos)
		if n <= 0 {
			return io.ErrUnexpectedEOF
		}
		copy(r.out[r.to:r.to+n], b.buf[b.pos:b.pos+n])
		r.to += n
		b.pos += n
		r.stored -= n
	}
	if r.stored == 0 {
		r.state = inBlockHeader
	}
	return nil
}

// fixedCodes returns the codes of RFC 1951, section 3.2.6.
var fixedCodes = sync.OnceValue(func() *codes {
	var lit [numSymbols]uint8
	for i := range lit {
		switch {
		case i < 144:
			lit[i] = 8
		case i < 256:
			lit[i] = 9
		case i < 280:
			lit[i] = 7
		default:
			lit[i] = 8
		}
	}
	var dist [32]uint8
	for i := range dist {
		dist[i] = 5
	}
	c := &codes{}
	c.build(lit[:], dist[:])
	return c
})

// numLenCodes is the number of symbols that describe the lengths of codes.
const numLenCodes = 19

// lenCodeOrder is the order in which the lengths of their codes are stored.
var lenCodeOrder = [numLenCodes]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicCodes reads the codes of a block; RFC 1951, section 3.2.7.
func (r *Reader) dynamicCodes() error {
	b := &r.bits
	numLit, numDist, n := int(b.take(5))+firstLen, int(b.take(5))+1, int(b.take(4))+4
	if numLit > firstLen+numLens || numDist > numDists {
		return ErrCorrupt
	}
	var lens [numLenCodes]uint8
	for _, symbol := range lenCodeOrder[:n] {
		lens[symbol] = uint8(b.take(3))
	}
	var c code
	if !c.build(lens[:]) {
		return ErrCorrupt
	}
	var all [firstLen + numLens + numDists]uint8
	for i := 0; i < numLit+numDist; {
		b.need(maxLenCode + 7)
		symbol, length, ok := c.decode(b.word)
		if !ok {
			return ErrCorrupt
		}
		b.drop(length)
		repeat, value := 1, uint8(symbol)
		switch symbol {
		case 16:
			if i == 0 {
				return ErrCorrupt
			}
			repeat, value = 3+int(b.take(2)), all[i-1]
		case 17:
			repeat, value = 3+int(b.take(3)), 0
		case 18:
			repeat, value = 11+int(b.take(7)), 0
		}
		if i+repeat > numLit+numDist {
			return ErrCorrupt
		}
		for range repeat {
			all[i] = value
			i++
		}
	}
	if b.failed() {
		return io.ErrUnexpectedEOF
	}
	if all[endOfBlock] == 0 || !r.dynamic.build(all[:numLit], all[numLit:numLit+numDist]) {
		return ErrCorrupt
	}
	return nil
}

// maxLenCode is the most bits of a code of a length of a code.
const maxLenCode = 7

package gunzip

import "math/bits"

const (
	maxCodeLen = 15  // bits; RFC 1951, section 3.2.7
	endOfBlock = 256 // the symbol
	firstLen   = 257 // the first symbol of a length
	numLens    = 29
	numDists   = 30
	numSymbols = firstLen + numLens + 2 // two of the fixed code are invalid
	minMatch   = 3
	maxMatch   = 258
)

// The symbols of lengths and distances stand for a base and a number of extra
// bits that are added to it; RFC 1951, section 3.2.5.
var (
	lengths   [numLens]class
	distances [32]class // the last two are invalid
)

// A class is the range of values of a symbol.
type class struct {
	base, mask uint32 // added are the extra bits that are set in mask
}

// extra returns the number of extra bits.
func (c class) extra() uint { return uint(bits.Len32(c.mask)) }

func init() {
	base := uint32(3)
	for i := range lengths {
		extra := max(0, i/4-1)
		lengths[i] = class{base, 1<<extra - 1}
		base += 1 << extra
	}
	lengths[numLens-1] = class{maxMatch, 0}
	base = 1
	for i := range numDists {
		extra := max(0, i/2-1)
		distances[i] = class{base, 1<<extra - 1}
		base += 1 << extra
	}
}

// A code is a canonical prefix code: codes of one length are consecutive
// numbers in the order of their symbols, and follow the shorter codes.
type code struct {
	count   [maxCodeLen + 1]int    // codes of each length
	end     [maxCodeLen + 1]uint32 // the first number of 15 bits after the codes of each length
	offset  [maxCodeLen + 1]int32  // the index in symbols of a code of each length is the code plus offset
	symbols [numSymbols]uint16     // in the order of their codes
}

// build makes the code of symbols with the given lengths, 0 for unused ones. It
// reports whether there is one: it must be complete, but may consist of nothing
// or of a single code of one bit.
func (c *code) build(lens []uint8) bool {
	c.count = [maxCodeLen + 1]int{}
	for _, l := range lens {
		c.count[l&15]++
	}
	used := len(lens) - c.count[0]
	c.count[0] = 0
	var next [maxCodeLen + 1]int // index in symbols
	first, index := uint32(0), 0
	for l := 1; l <= maxCodeLen; l++ {
		first <<= 1
		next[l] = index
		c.offset[l] = int32(index) - int32(first)
		first += uint32(c.count[l])
		if first > 1<<l {
			return false
		}
		c.end[l] = first << (maxCodeLen - l)
		index += c.count[l]
	}
	if first != 1<<maxCodeLen && used != 0 && (used != 1 || c.count[1] != 1) {
		return false
	}
	for symbol, l := range lens {
		if l > 0 {
			c.symbols[next[l&15]] = uint16(symbol)
			next[l&15]++
		}
	}
	return true
}

// reverse reverses the lowest n bits of number.
func reverse(number uint32, n int) uint32 {
	return uint32(bits.Reverse16(uint16(number))) >> (16 - n)
}

// decode returns the symbol at the start of word and the length of its code. ok
// is false if no code matches.
func (c *code) decode(word uint64) (symbol int, length uint, ok bool) {
	number := uint32(bits.Reverse16(uint16(word)) >> 1)
	for l := 1; l <= maxCodeLen; l++ {
		if number < c.end[l] {
			return int(c.symbols[int32(number>>(maxCodeLen-l))+c.offset[l]]), uint(l), true
		}
	}
	return 0, 0, false
}

package gunzip

import "math/bits"

const (
	tableBits = 11 // of an index of the table of literals and lengths
	distBits  = 9  // of an index of the table of distances

	maxExtraDist = 13
	maxExtraLen  = 5
)

// An entry tells what the bits of its index mean. The fields, from the lowest
// bit:
//
//	0-5    bits to drop, with literals; otherwise 0
//	6-7    number of literals
//
// With literals:
//
//	8-31   the literals
//
// Without:
//
//	8-11   bits before the extra bits of the distance
//	12-16  symbol of the distance
//	17-24  length of the match, minus 3
//	25-29  bits to drop
//	30     noDist: the distance is not included
//	31     slow: ask the code
//
// An entry of the table of distances has the fields of a distance, and slow.
type entry uint32

const (
	noDist entry = 1 << 30
	slow   entry = 1 << 31

	oneLiteral entry = 1 << 6
	dropUnit   entry = 1 << 25
	lengthUnit entry = 1 << 17
	symbolUnit entry = 1 << 12
	codeUnit   entry = 1 << 8
)

func (e entry) litDrop() uint64  { return uint64(e & 63) } // 0 without literals
func (e entry) literals() int    { return int(e >> 6 & 3) }
func (e entry) isLiteral() bool  { return e&(3<<6) != 0 }
func (e entry) isMatch() bool    { return e < noDist && !e.isLiteral() } // with its distance
func (e entry) length() int      { return int(e>>17&255) + minMatch }
func (e entry) distCode() uint64 { return uint64(e >> 8 & 15) }
func (e entry) drop() uint64     { return uint64(e >> 25 & 31) } // without literals

// codes decodes the symbols of a block.
type codes struct {
	table     [1 << tableBits]entry
	distTable [1 << distBits]entry
	lit, dist code
	dense     bool // three quarters of the symbols are matches, according to their codes

	single [1 << tableBits]entry // while the tables are built: one symbol an entry
}

// build makes the tables of the codes with the given lengths, and reports
// whether there are such codes.
func (c *codes) build(lit, dist []uint8) bool {
	if !c.lit.build(lit) || !c.dist.build(dist) {
		return false
	}
	fill(c.distTable[:], &c.dist, distEntry)
	fill(c.single[:], &c.lit, litEntry)
	c.table = c.single
	number, index := uint32(0), 0
	matches := 0 // share of the symbols, according to their codes
	for n := 1; n <= tableBits; n++ {
		number <<= 1
		for range c.lit.count[n] {
			symbol := c.lit.symbols[index]
			if symbol < endOfBlock {
				c.addLiterals(litEntry(symbol, n), reverse(number, n), n)
			} else if symbol >= firstLen && symbol < firstLen+numLens {
				c.addMatches(lengths[symbol-firstLen], reverse(number, n), n)
				matches += 1 << (tableBits - n)
			}
			number++
			index++
		}
	}
	c.dense = matches > 3<<tableBits/4
	return true
}

// fill fills a table with one symbol an entry. It doubles the part that it has
// filled, one length of codes after the other, so that it stores each code once.
func fill(table []entry, c *code, entryOf func(symbol uint16, n int) entry) {
	width := bits.Len(uint(len(table))) - 1
	table[0] = slow // a longer code, or none
	number, index := uint32(0), 0
	for n := 1; n <= width; n++ {
		size := 1 << (n - 1)
		copy(table[size:2*size], table[:size])
		number <<= 1
		for range c.count[n] {
			table[reverse(number, n)] = entryOf(c.symbols[index], n)
			number++
			index++
		}
	}
}

// litEntry returns the entry of a literal whose code has n bits. Lengths and the
// end of a block are slow.
func litEntry(symbol uint16, n int) entry {
	if symbol < endOfBlock {
		return oneLiteral + entry(symbol)*codeUnit + entry(n)
	}
	return slow
}

// distEntry returns the entry of a distance whose code has n bits.
func distEntry(symbol uint16, n int) entry {
	if symbol >= numDists {
		return slow
	}
	return entry(symbol)*symbolUnit + entry(n)*codeUnit + (entry(n)+entry(distances[symbol].extra()))*dropUnit
}

// addLiterals stores the pairs and triples that begin with the literal of e,
// whose code has n bits.
func (c *codes) addLiterals(e entry, code uint32, n int) {
	const fields = 0xFF // of an entry, below the literals
	for rest := range uint32(1 << (tableBits - n)) {
		left := uint64(tableBits - n)
		second := c.single[rest&(1<<tableBits-1)]
		if !second.isLiteral() || second.litDrop() > left {
			continue
		}
		sum := e + second&fields + second>>8<<16
		left -= second.litDrop()
		third := c.single[rest>>second.litDrop()&(1<<tableBits-1)]
		if third.isLiteral() && third.litDrop() <= left {
			sum += third&fields + third>>8<<24
		}
		c.table[(code|rest<<n)&(1<<tableBits-1)] = sum
	}
}

// addMatches stores the matches that begin with a length of class l, whose code
// has n bits.
func (c *codes) addMatches(l class, code uint32, n int) {
	used := n + int(l.extra())
	if used > tableBits {
		return // stays slow
	}
	left := uint64(tableBits - used)
	for extra := range l.mask + 1 {
		e := noDist + entry(l.base+extra-minMatch)*lengthUnit + entry(used)*dropUnit
		for rest := range uint32(1 << left) {
			sum := e
			if d := c.distTable[rest&(1<<distBits-1)]; d&slow == 0 && d.distCode() <= left {
				sum += d + entry(used)*codeUnit - noDist
			}
			c.table[(code|extra<<n|rest<<used)&(1<<tableBits-1)] = sum
		}
	}
}

package format

import (
	"cmp"
	"encoding/binary"
	"math/bits"
)

// TextLen is the length in bytes of the canonical form of an id: 8-4-4-4-12
// hexadecimal digits (RFC 9562, section 4).
const TextLen = 36

// A Key is an id as a number of 128 bits. Files are sorted by this number.
type Key struct{ Hi, Lo uint64 }

// Compare returns a negative number, zero or a positive number if k sorts
// before, is or sorts after o.
func (k Key) Compare(o Key) int {
	if k.Hi != o.Hi {
		return cmp.Compare(k.Hi, o.Hi)
	}
	return cmp.Compare(k.Lo, o.Lo)
}

// Less reports whether k sorts before o.
func (k Key) Less(o Key) bool {
	return k.Hi < o.Hi || k.Hi == o.Hi && k.Lo < o.Lo
}

// KeyAt decodes the first KeyLen bytes of b.
func KeyAt(b []byte) Key {
	_ = b[KeyLen-1]
	return Key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (k Key) put(b []byte) {
	_ = b[KeyLen-1]
	binary.BigEndian.PutUint64(b, k.Hi)
	binary.BigEndian.PutUint64(b[8:], k.Lo)
}

// AppendText appends the canonical form of k to dst.
func (k Key) AppendText(dst []byte, upper bool) []byte {
	// The distance from '9'+1 to 'a' is 0x27, to 'A' 0x07.
	c := uint64(0x2727272727272727)
	if upper {
		c = 0x0707070707070707
	}
	var b [TextLen]byte
	binary.BigEndian.PutUint64(b[0:], hexOf(uint32(k.Hi>>32), c))
	mid := hexOf(uint32(k.Hi), c)
	binary.BigEndian.PutUint64(b[28:], hexOf(uint32(k.Lo), c))
	b[8] = '-'
	binary.BigEndian.PutUint32(b[9:], uint32(mid>>32))
	b[13] = '-'
	binary.BigEndian.PutUint32(b[14:], uint32(mid))
	b[18] = '-'
	low := hexOf(uint32(k.Lo>>32), c)
	binary.BigEndian.PutUint32(b[19:], uint32(low>>32))
	b[23] = '-'
	binary.BigEndian.PutUint32(b[24:], uint32(low))
	return append(dst, b[:]...)
}

// String returns the canonical form of k in lower case.
func (k Key) String() string { return string(k.AppendText(nil, false)) }

// hexOf spreads the eight digits of v over eight bytes, the first digit highest.
// Every byte of gap is the distance from '9'+1 to the first letter.
func hexOf(v uint32, gap uint64) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	x = (x | x<<8) & 0x00FF00FF00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F0F0F0F0F
	letters := (x + 0x0606060606060606) >> 4 & 0x0101010101010101 // 1 where the digit is above 9
	return x + 0x3030303030303030 + letters*(gap&0xFF)
}

// ParseKey parses the canonical form of an id, in upper, lower or mixed case.
// upper reports whether it has letters and all of them are upper case. The error
// is a *SyntaxError.
func ParseKey(text []byte) (k Key, upper bool, err error) {
	if len(text) != TextLen {
		return Key{}, false, keyError(text)
	}
	b := text[:TextLen:TextLen]
	pair := func(i int) uint16 { return hexPairs[binary.LittleEndian.Uint16(b[i:])] }
	p0, p1, p2, p3 := pair(0), pair(2), pair(4), pair(6)
	p4, p5, p6, p7 := pair(9), pair(11), pair(14), pair(16)
	flags := p0 & p1 & p2 & p3 & p4 & p5 & p6 & p7
	k.Hi = lowBytes(p0, p1, p2, p3)<<32 | lowBytes(p4, p5, p6, p7)
	p0, p1, p2, p3 = pair(19), pair(21), pair(24), pair(26)
	p4, p5, p6, p7 = pair(28), pair(30), pair(32), pair(34)
	flags &= p0 & p1 & p2 & p3 & p4 & p5 & p6 & p7
	k.Lo = lowBytes(p0, p1, p2, p3)<<32 | lowBytes(p4, p5, p6, p7)
	if flags&pairIsHex == 0 || b[8] != '-' || b[13] != '-' || b[18] != '-' || b[23] != '-' {
		return Key{}, false, keyError(text)
	}
	return k, flags&(pairNoLower|pairNoUpper) == pairNoLower, nil
}

func lowBytes(p0, p1, p2, p3 uint16) uint64 {
	return uint64(p0&0xFF)<<24 | uint64(p1&0xFF)<<16 | uint64(p2&0xFF)<<8 | uint64(p3&0xFF)
}

// The flags of hexPairs. The conjunction of the flags of several pairs holds for
// all of them.
const (
	pairIsHex   = 1 << 8  // both characters are hexadecimal digits
	pairNoLower = 1 << 9  // and neither is a lower-case letter
	pairNoUpper = 1 << 10 // and neither is an upper-case letter
)

// hexPairs maps two characters, as a little-endian number, to their byte and
// flags. It has 128 KiB, of which ids in one case use 256 entries in 2 KiB of
// cache lines. ParseKey takes 9 ns with it, 12 ns with a table of single
// characters, and 16 ns with eight characters in the lanes of a word.
var hexPairs = func() (pairs [1 << 16]uint16) {
	const digits = "0123456789abcdefABCDEF"
	var single ['f' + 1]uint16
	for i, c := range digits {
		switch {
		case i < 10:
			single[c] = uint16(i) | pairIsHex | pairNoLower | pairNoUpper
		case i < 16:
			single[c] = uint16(i) | pairIsHex | pairNoUpper
		default:
			single[c] = uint16(i-6) | pairIsHex | pairNoLower
		}
	}
	for _, c := range digits {
		for _, d := range digits {
			hi, lo := single[c], single[d]
			pairs[uint16(c)|uint16(d)<<8] = hi&lo&^0xFF | hi&0xF<<4 | lo&0xF
		}
	}
	return pairs
}()

func keyError(text []byte) error {
	for i, c := range text[:min(len(text), TextLen)] {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return syntaxError(i, "id: %q at character %d, want a dash of a UUID", charAt(text, i), i+1)
			}
		} else if !isHex(c) {
			return syntaxError(i, "id: %q at character %d, want a hexadecimal digit of a UUID", charAt(text, i), i+1)
		}
	}
	return syntaxError(min(len(text), TextLen), "id: %s, want the 36 of a UUID", characters(len(text)))
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// CommonPrefix returns the number of leading bits that k and o share, 0 to 128.
func (k Key) CommonPrefix(o Key) int {
	if k.Hi != o.Hi {
		return bits.LeadingZeros64(k.Hi ^ o.Hi)
	}
	return 64 + bits.LeadingZeros64(k.Lo^o.Lo)
}

// Bits returns the 64 bits of k that begin at bit from, 0 to 128, counted from
// the highest. Zeros follow the last bit of k.
func (k Key) Bits(from uint) uint64 {
	// Shifting by 64 or more gives zero, so a count that wraps around does, too.
	return k.Hi<<from | k.Lo>>(64-from) | k.Lo<<(from-64)
}

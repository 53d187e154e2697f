package format

import (
	"cmp"
	"encoding/binary"
	"math/bits"
)

// TextLen is the length of an id in its canonical form, 8-4-4-4-12 hexadecimal
// digits (RFC 9562, section 4).
const TextLen = 36

// A Key is an id as the file holds it: 128 bits whose order as a number is
// their order in the file.
type Key struct{ Hi, Lo uint64 }

// Compare is negative, zero or positive as k sorts before, with or after o.
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

// KeyAt reads the key in the first KeyLen bytes of b.
func KeyAt(b []byte) Key {
	_ = b[KeyLen-1]
	return Key{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (k Key) put(b []byte) {
	_ = b[KeyLen-1]
	binary.BigEndian.PutUint64(b, k.Hi)
	binary.BigEndian.PutUint64(b[8:], k.Lo)
}

// AppendText appends the canonical form of k.
func (k Key) AppendText(dst []byte, upper bool) []byte {
	// c is 0x27 or 0x07: the gap between '9'+1 and the letters.
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

// String is the canonical form of k in lower case.
func (k Key) String() string { return string(k.AppendText(nil, false)) }

// hexOf spreads the eight digits of v over eight bytes, first digit highest.
// gap is what lies between the digits and the letters, in every byte.
func hexOf(v uint32, gap uint64) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	x = (x | x<<8) & 0x00FF00FF00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F0F0F0F0F
	letters := (x + 0x0606060606060606) >> 4 & 0x0101010101010101 // 1 where the digit is over 9
	return x + 0x3030303030303030 + letters*(gap&0xFF)
}

// ParseKey reads an id in its canonical form, in upper, lower or mixed case.
// upper tells that it has letters and that all of them are capitals. The error
// is a *SyntaxError.
func ParseKey(text []byte) (k Key, upper bool, err error) {
	if len(text) != TextLen {
		return Key{}, false, keyError(text)
	}
	b := text[:TextLen:TextLen]
	x0 := binary.BigEndian.Uint64(b)
	x1 := uint64(binary.BigEndian.Uint32(b[9:]))<<32 | uint64(binary.BigEndian.Uint32(b[14:]))
	x2 := uint64(binary.BigEndian.Uint32(b[19:]))<<32 | uint64(binary.BigEndian.Uint32(b[24:]))
	x3 := binary.BigEndian.Uint64(b[28:])
	h0, bad0, letters0 := unhex(x0)
	h1, bad1, letters1 := unhex(x1)
	h2, bad2, letters2 := unhex(x2)
	h3, bad3, letters3 := unhex(x3)
	dashes := (b[8] ^ '-') | (b[13] ^ '-') | (b[18] ^ '-') | (b[23] ^ '-')
	if (bad0|bad1|bad2|bad3)&0xF0F0F0F0F0F0F0F0|uint64(dashes) != 0 {
		return Key{}, false, keyError(text)
	}
	small := letters0&x0 | letters1&x1 | letters2&x2 | letters3&x3
	upper = small == 0 && letters0|letters1|letters2|letters3 != 0
	return Key{h0<<32 | h1, h2<<32 | h3}, upper, nil
}

// unhex reads eight hexadecimal digits, first digit in the highest byte, all
// eight at once. The high nibble of a byte of bad is zero if all are digits;
// letters has bit 5 set in the bytes that are letters, as small letters have.
func unhex(x uint64) (v, bad, letters uint64) {
	const ones = 0x0101010101010101
	letter := x >> 6 & ones // 1 where it is a letter, if it is a digit at all
	letters = letter << 5
	// r is 0 to 9 for a digit, 0 to 5 for a letter, and with the sum below
	// goes over 15 for anything else. What a wrong byte borrows from its
	// neighbour, or carries to it, does not hide that it is wrong itself.
	r := (x | letters) - '0'*ones - letter*('a'-'0')
	bad = r | (r + 6*ones + letter*4)
	n := r + letter*10
	n = (n | n>>4) & 0x00FF00FF00FF00FF
	n = (n | n>>8) & 0x0000FFFF0000FFFF
	return (n | n>>16) & 0xFFFFFFFF, bad, letters
}

func keyError(text []byte) error {
	for i, c := range text[:min(len(text), TextLen)] {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return syntaxError(i, "id: %q at its character %d, not a dash; a UUID is expected", charAt(text, i), i+1)
			}
		} else if !isHex(c) {
			return syntaxError(i, "id: %q at its character %d, not a hexadecimal digit; a UUID is expected", charAt(text, i), i+1)
		}
	}
	return syntaxError(min(len(text), TextLen), "id: %d characters, not the 36 of a UUID", len(text))
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

// CommonPrefix is the number of leading bits that k and o share, 0 to 128.
func (k Key) CommonPrefix(o Key) int {
	if k.Hi != o.Hi {
		return bits.LeadingZeros64(k.Hi ^ o.Hi)
	}
	return 64 + bits.LeadingZeros64(k.Lo^o.Lo)
}

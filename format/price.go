package format

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// A Price is a decimal number with all its written digits: 9.680 is not 9.68.
type Price struct {
	Negative bool   // written with a minus; a zero may have one
	Digits   uint64 // all digits without the point and Zeros, below 10^16
	Scale    int    // number of digits after the point, 0 to 16, without Zeros

	// Zeros is the number of zeros after Digits, all after the point, 0 to 63. It
	// is 0 if Digits and Scale have room for another zero. A record does not hold
	// it, but its style does.
	Zeros int
}

var pow10 = func() (p [MaxDigits + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// ParsePrice parses a decimal number with an optional sign and up to 16 digits,
// without leading zeros of the integer part and zeros at the end of the
// decimals. It rejects NaN, blanks and exponents, except for that of a zero such
// as 0E-18, which stands for 18 decimals. The error is a *SyntaxError.
func ParsePrice(text []byte) (Price, error) {
	p, first, point, end := scanPrice(text)
	digits := point - first + p.Scale
	if end < len(text) {
		if digits > 0 && digits <= MaxDigits {
			if zero, ok := zeroWithExponent(p, text[end:]); ok {
				return zero, nil
			}
		}
		return Price{}, syntaxError(end, "price: %q at character %d, want a digit of a decimal such as 9.68", charAt(text, end), end+1)
	}
	if digits == 0 {
		return Price{}, syntaxError(end, "price: no digits, want a decimal such as 9.68")
	}
	if digits > MaxDigits {
		return longPrice(p.Negative, text[first:point], text[min(point+1, end):end], first)
	}
	return p, nil
}

// CutPrice parses the decimal number at the start of text and returns its length
// in bytes. The length is 0 if there is no number, or if it needs ParsePrice.
func CutPrice(text []byte) (p Price, n int) {
	p, first, point, end := scanPrice(text)
	digits := point - first + p.Scale
	if digits == 0 {
		return Price{}, 0
	}
	if digits > MaxDigits {
		var err error
		if p, err = longPrice(p.Negative, text[first:point], text[min(point+1, end):end], first); err != nil {
			return Price{}, 0
		}
	}
	return p, end
}

// longPrice returns a price of more than MaxDigits digits, some of which must be
// zeros at the start or the end. The number begins at offset first.
func longPrice(negative bool, integer, decimals []byte, first int) (Price, error) {
	integer = bytes.TrimLeft(integer, "0")
	zeros := len(decimals) - max(len(bytes.TrimRight(decimals, "0")), min(len(decimals), MaxDigits-len(integer)))
	decimals = decimals[:len(decimals)-zeros]
	if n := len(integer) + len(decimals); n > MaxDigits {
		return Price{}, syntaxError(first, "price: %d digits, above %d", n, MaxDigits)
	}
	if zeros > MaxZeros {
		return Price{}, syntaxError(first, "price: %d zeros after the first %d digits, above %d", zeros, MaxDigits, MaxZeros)
	}
	p := Price{Negative: negative, Scale: len(decimals), Zeros: zeros}
	for _, part := range [...][]byte{integer, decimals} {
		for _, c := range part {
			p.Digits = p.Digits*10 + uint64(c-'0')
		}
	}
	return p, nil
}

// zeroWithExponent returns the price of a zero p that is followed by an exponent.
func zeroWithExponent(p Price, text []byte) (zero Price, ok bool) {
	if p.Digits != 0 || text[0]|0x20 != 'e' {
		return Price{}, false
	}
	n, err := strconv.ParseInt(string(text[1:]), 10, 16)
	decimals := int64(p.Scale) - n
	if err != nil || decimals > MaxScale+MaxZeros {
		return Price{}, false
	}
	p.Scale = int(min(max(decimals, 0), MaxScale))
	p.Zeros = int(max(decimals-MaxScale, 0))
	return p, true
}

// scanPrice parses the longest decimal number at the start of text. The digits
// begin at first, the integer part ends at point and the number at end. p.Digits
// may have overflowed if there are more than MaxDigits digits.
func scanPrice(text []byte) (p Price, first, point, end int) {
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		p.Negative = text[i] == '-'
		i++
	}
	first = i
	for i < len(text) && text[i]-'0' <= 9 {
		p.Digits = p.Digits*10 + uint64(text[i]-'0')
		i++
	}
	point = i
	if i < len(text) && text[i] == '.' {
		i++
		for n := 8; n == 8 && i+8 <= len(text); i += n {
			var v uint64
			v, n = leadingDigits(binary.LittleEndian.Uint64(text[i:]))
			p.Digits = p.Digits*pow10[n] + v
		}
		for i < len(text) && text[i]-'0' <= 9 {
			p.Digits = p.Digits*10 + uint64(text[i]-'0')
			i++
		}
		p.Scale = i - point - 1
	}
	return p, first, point, i
}

// leadingDigits parses the digits at the start of eight characters, the first in
// the lowest byte. It returns their number n and value v.
//
// It combines digits to pairs, fours and eights in the lanes of a word: Johnny
// Lee and others, "Faster integer parsing", described by Daniel Lemire, "Quickly
// parsing eight digits", 2018.
func leadingDigits(x uint64) (v uint64, n int) {
	const ones = 0x0101010101010101
	x ^= '0' * ones
	// A sum may carry into the next byte, but only from a byte that is not a digit.
	other := (x + (0x80-10)*ones | x) & (0x80 * ones)
	n = bits.TrailingZeros64(other) / 8
	x <<= 64 - 8*uint(n) // leading zeros
	x = x*10 + x>>8
	const fours = 0x000000FF000000FF
	return (x&fours*(100+1000000<<32) + x>>16&fours*(1+10000<<32)) >> 32, n
}

// AppendText appends the canonical form of p, a JSON number: digits on both sides
// of the point, no plus and no leading zeros. It truncates p to decimals digits
// after the point; negative decimals keep all digits.
func (p Price) AppendText(dst []byte, decimals int) []byte {
	digits, scale, zeros := p.Digits, p.Scale, p.Zeros
	if decimals >= 0 && decimals < scale+zeros {
		zeros = max(decimals-scale, 0)
		if decimals < scale {
			digits /= pow10[scale-decimals]
			scale = decimals
		}
	}
	if p.Negative {
		dst = append(dst, '-')
	}
	if scale+zeros == 0 {
		return strconv.AppendUint(dst, digits, 10)
	}
	dst = strconv.AppendUint(dst, digits/pow10[scale], 10)
	dst = append(dst, '.')
	n := len(dst)
	dst = append(dst, zeroDigits[:scale+zeros]...)
	fraction := digits % pow10[scale]
	for i := n + scale - 1; fraction > 0; i-- {
		dst[i] = byte('0' + fraction%10)
		fraction /= 10
	}
	return dst
}

const zeroDigits = "0000000000000000000000000000000000000000000000000000000000000000000000000000000"

var _ [len(zeroDigits) - MaxScale - MaxZeros]struct{}

func (p Price) String() string { return string(p.AppendText(nil, -1)) }

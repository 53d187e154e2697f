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
	Digits   uint64 // all digits without the point, below 10^16
	Scale    int    // number of digits after the point, 0 to 16
}

var pow10 = func() (p [MaxDigits + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// ParsePrice parses a decimal number with an optional sign and up to 16 digits,
// without leading zeros of the integer part. It rejects exponents, NaN and
// blanks. The error is a *SyntaxError.
func ParsePrice(text []byte) (Price, error) {
	p, first, point, end := scanPrice(text)
	if end < len(text) {
		return Price{}, syntaxError(end, "price: %q at character %d, want a digit of a decimal such as 9.68", charAt(text, end), end+1)
	}
	digits := point - first + p.Scale
	if digits == 0 {
		return Price{}, syntaxError(end, "price: no digits, want a decimal such as 9.68")
	}
	if digits > MaxDigits {
		digits -= len(text[first:point]) - len(bytes.TrimLeft(text[first:point], "0"))
		if digits > MaxDigits {
			return Price{}, syntaxError(first, "price: %d digits, above %d", digits, MaxDigits)
		}
	}
	return p, nil
}

// CutPrice parses the decimal number at the start of text and returns its length
// in bytes. The length is 0 if there is no number, or if it needs ParsePrice.
func CutPrice(text []byte) (p Price, n int) {
	p, first, point, end := scanPrice(text)
	if digits := point - first + p.Scale; digits == 0 || digits > MaxDigits {
		return Price{}, 0
	}
	return p, end
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
	digits, scale := p.Digits, p.Scale
	if decimals >= 0 && decimals < scale {
		digits /= pow10[scale-decimals]
		scale = decimals
	}
	if p.Negative {
		dst = append(dst, '-')
	}
	if scale == 0 {
		return strconv.AppendUint(dst, digits, 10)
	}
	dst = strconv.AppendUint(dst, digits/pow10[scale], 10)
	dst = append(dst, '.')
	n := len(dst)
	dst = append(dst, "0000000000000000"[:scale]...)
	fraction := digits % pow10[scale]
	for i := n + scale - 1; fraction > 0; i-- {
		dst[i] = byte('0' + fraction%10)
		fraction /= 10
	}
	return dst
}

func (p Price) String() string { return string(p.AppendText(nil, -1)) }

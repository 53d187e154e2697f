package format

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"
)

// A Price is a decimal number as it was written: 9.680 is not 9.68.
type Price struct {
	Negative bool   // it was written with a minus, which a zero may have too
	Digits   uint64 // all its digits, without the point; below 10^16
	Scale    int    // how many of them stand behind the point, 0 to 16
}

var pow10 = func() (p [MaxDigits + 1]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = p[i-1] * 10
	}
	return p
}()

// ParsePrice reads a decimal with an optional sign and up to 16 digits,
// leading zeros of the integer part not counted. No exponent, no NaN, no
// blanks. The error is a *SyntaxError.
func ParsePrice(text []byte) (Price, error) {
	p, first, point, end := scanPrice(text)
	if end < len(text) {
		return Price{}, syntaxError(end, "price: %q at its character %d, not a digit; a decimal such as 9.68 is expected", charAt(text, end), end+1)
	}
	digits := point - first + p.Scale
	if digits == 0 {
		return Price{}, syntaxError(end, "price: no digits; a decimal such as 9.68 is expected")
	}
	if digits > MaxDigits {
		digits -= len(text[first:point]) - len(bytes.TrimLeft(text[first:point], "0"))
		if digits > MaxDigits {
			return Price{}, syntaxError(first, "price: %d digits, more than %d", digits, MaxDigits)
		}
	}
	return p, nil
}

// CutPrice reads the decimal that text begins with, and how many bytes it has:
// 0 if there is none, or if only ParsePrice can tell.
func CutPrice(text []byte) (p Price, n int) {
	p, first, point, end := scanPrice(text)
	if digits := point - first + p.Scale; digits == 0 || digits > MaxDigits {
		return Price{}, 0
	}
	return p, end
}

// scanPrice reads the longest decimal that text begins with. Its digits begin
// at first, its integer part ends at point and all of it at end. More than
// MaxDigits digits may not fit.
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

// leadingDigits is the number that the n digits make with which eight
// characters, the first in the lowest byte, begin.
//
// Pairs, fours and eights of digits are put together in the lanes of a word:
// Johnny Lee and others, "Faster integer parsing", by way of Daniel Lemire,
// "Quickly parsing eight digits", 2018.
func leadingDigits(x uint64) (v uint64, n int) {
	const ones = 0x0101010101010101
	x ^= '0' * ones
	// A sum may carry into the byte behind, but only behind what is no digit.
	other := (x + (0x80-10)*ones | x) & (0x80 * ones)
	n = bits.TrailingZeros64(other) / 8
	x <<= 64 - 8*uint(n) // zeros in front
	x = x*10 + x>>8
	const fours = 0x000000FF000000FF
	return (x&fours*(100+1000000<<32) + x>>16&fours*(1+10000<<32)) >> 32, n
}

// AppendText appends p in its canonical form, which is a JSON number: a digit
// on both sides of a point, no plus, no leading zeros. decimals of zero or
// more cuts off what stands behind that many; a negative one leaves p whole.
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

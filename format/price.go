package format

import (
	"bytes"
	"encoding/binary"
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
	var p Price
	i := 0
	if i < len(text) && (text[i] == '-' || text[i] == '+') {
		p.Negative = text[i] == '-'
		i++
	}
	first := i
	for i < len(text) && text[i]-'0' <= 9 {
		p.Digits = p.Digits*10 + uint64(text[i]-'0') // may overflow: the count below tells
		i++
	}
	point := i
	if i < len(text) && text[i] == '.' {
		i++
		for i+4 <= len(text) {
			n, ok := fourDigits(binary.LittleEndian.Uint32(text[i:]))
			if !ok {
				break
			}
			p.Digits = p.Digits*1e4 + n
			i += 4
		}
		for i < len(text) && text[i]-'0' <= 9 {
			p.Digits = p.Digits*10 + uint64(text[i]-'0')
			i++
		}
		p.Scale = i - point - 1
	}
	if i < len(text) {
		return Price{}, syntaxError(i, "price: %q at its character %d, not a digit; a decimal such as 9.68 is expected", charAt(text, i), i+1)
	}
	digits := point - first + p.Scale
	if digits == 0 {
		return Price{}, syntaxError(i, "price: no digits; a decimal such as 9.68 is expected")
	}
	if digits > MaxDigits {
		digits -= len(text[first:point]) - len(bytes.TrimLeft(text[first:point], "0"))
		if digits > MaxDigits {
			return Price{}, syntaxError(first, "price: %d digits, more than %d", digits, MaxDigits)
		}
	}
	return p, nil
}

// fourDigits reads four characters, first in the lowest byte.
func fourDigits(x uint32) (n uint64, ok bool) {
	const ones = 0x01010101
	x ^= '0' * ones
	bad := (x + (0x80-10)*ones | x) & (0x80 * ones)
	x = x*10 + x>>8
	return uint64(x&0xFF*100 + x>>16&0xFF), bad == 0
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

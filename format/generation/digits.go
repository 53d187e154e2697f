package generation

import (
	"fmt"
	"strings"

	"promostore/format"
)

// Digits is a set of hex digits: bit d is set if the digit d is in the set. A
// server of some digits needs only the shards that they select.
type Digits uint16

// AllDigits is the set of all hex digits. It selects all shards.
const AllDigits Digits = 1<<16 - 1

const hexDigits = "0123456789abcdef"

// ParseDigits parses digits and ranges of digits, such as 0-7,a,c-f.
func ParseDigits(s string) (Digits, error) {
	var d Digits
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.ToLower(part), "-")
		if !isRange {
			hi = lo
		}
		if len(lo) != 1 || len(hi) != 1 || hi < lo || !strings.Contains(hexDigits, lo) || !strings.Contains(hexDigits, hi) {
			return 0, fmt.Errorf("digits %q: %q is neither a hex digit nor a range such as 0-7", s, part)
		}
		for digit := strings.Index(hexDigits, lo); digit <= strings.Index(hexDigits, hi); digit++ {
			d |= 1 << digit
		}
	}
	return d, nil
}

// String returns the digits in the form of ParseDigits, with ranges if possible:
// 0-7 or 0-f.
func (d Digits) String() string { return string(d.Append(nil)) }

// Append appends the result of String to dst.
func (d Digits) Append(dst []byte) []byte {
	first := len(dst)
	for lo := 0; lo < 16; lo++ {
		if !d.Has(lo) {
			continue
		}
		hi := lo
		for hi < 15 && d.Has(hi+1) {
			hi++
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(dst, hexDigits[lo])
		if hi > lo {
			dst = append(dst, '-', hexDigits[hi])
		}
		lo = hi
	}
	return dst
}

// Has reports whether a digit, 0 to 15, is in d.
func (d Digits) Has(digit int) bool { return d>>digit&1 == 1 }

// Owns reports whether d selects a shard. The shard of an unsharded generation is
// selected by all digits.
func (d Digits) Owns(s format.Sharding, shard uint32) bool {
	return s.Shards == 1 || d.Has(s.Digit(shard))
}

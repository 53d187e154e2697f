// Package synth generates data sets for tests, benchmarks and trials: any number
// of rows in the layout of real data sets. The same seed gives the same rows on
// every machine.
//
// The rows of a seed may differ between versions of this package.
package synth

import (
	"encoding/binary"
	"fmt"

	"promostore/format"
)

// A Kind is a scheme for assigning ids.
type Kind int

// The kinds. All but KeysV4 are adverse for code that expects evenly spread ids.
const (
	KeysV4         Kind = iota // UUID version 4: random
	KeysV7                     // UUID version 7: milliseconds, then random
	KeysV1                     // UUID version 1, as by UUID() of MySQL: 100 ns, low bits first, then the same 8 bytes
	KeysSequential             // 0, 1, 2, …: all zero in the first 8 bytes
	KeysSamePrefix             // the same in the first 8 bytes, random after them
)

var kinds = [...]string{"v4", "v7", "v1", "sequential", "same-prefix"}

// ParseKind parses the result of String.
func ParseKind(s string) (Kind, error) {
	for i, name := range kinds {
		if s == name {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("kind of keys %q is not one of %v", s, kinds)
}

func (k Kind) String() string { return kinds[k] }

// Keys is a sequence of distinct ids.
type Keys struct {
	Kind Kind
	Seed uint64
}

// perMilli is the number of version 7 ids a millisecond.
const perMilli = 16

// clock is the time of the first version 7 or 1 id, 2018-05-01 UTC, in milliseconds
// since 1970.
const clock = 1525132800000

// Version 1 counts units of 100 ns from 1582-10-15 UTC.
const (
	perClock  = 10_000             // units in a millisecond
	gregorian = 0x01B21DD213814000 // 1970
	apart     = 1_000_000          // units from one id to the next: ten ids a second
	timeMask  = 1<<60 - 1
)

// At returns the id with index i. It is a pure function of k and i. Different
// indices below 2^40 give different ids, because some bits of an id are a
// bijection of its index.
func (k Keys) At(i uint64) format.Key {
	hi, lo := mix(i+k.Seed*gamma), scramble(i^k.Seed>>2)
	switch k.Kind {
	case KeysSequential:
		return keyOf(0, i)
	case KeysSamePrefix:
		return keyOf(mix(k.Seed)&^versionMask|4<<versionShift, lo|variant)
	case KeysV1:
		t := (gregorian + clock*perClock + i*apart + below(hi, apart)) & timeMask
		return keyOf(t<<32|t>>32&0xFFFF<<16|1<<versionShift|t>>48, mix(k.Seed)&lowMask|variant)
	case KeysV7:
		return keyOf((clock+i/perMilli)<<16|7<<versionShift|hi>>52, lo|variant)
	default:
		return keyOf(hi&^versionMask|4<<versionShift, lo|variant)
	}
}

// Position of the version and the variant in a UUID (RFC 9562, section 4).
const (
	versionShift = 12
	versionMask  = 0xF << versionShift
	variant      = 1 << 63 // and bit 62 zero
	lowMask      = 1<<62 - 1
)

func keyOf(hi, lo uint64) format.Key {
	var b [format.KeyLen]byte
	binary.BigEndian.PutUint64(b[:], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return format.KeyAt(b[:])
}

// gamma is 2^64 divided by the golden ratio, rounded to an odd number.
const gamma = 0x9E3779B97F4A7C15

// mix spreads x over 64 bits: the finalizer of SplitMix64 (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += gamma
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// scramble is a bijection of the numbers below 2^62: multiplication by an odd
// number modulo a power of two is invertible, and so is xor with the upper half of
// the number.
func scramble(x uint64) uint64 {
	x = x * gamma & lowMask
	x ^= x >> 31
	x = x * 0xD6E8FEB86659FD93 & lowMask
	x ^= x >> 29
	x = x * 0xCA5A826395121157 & lowMask
	return x ^ x>>31
}

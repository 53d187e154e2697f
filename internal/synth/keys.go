// Package synth makes promotions tables for tests, benchmarks and trials: rows
// in the layout of the real ones, any number of them, the same for the same
// seed on every machine.
//
// It does not promise that the rows of a seed stay the same from one version
// of this package to the next.
package synth

import (
	"encoding/binary"
	"fmt"

	"promostore/format"
)

// A Kind is a way in which ids are given out.
type Kind int

// The kinds. All but KeysV4 are hard on what takes ids for evenly spread.
const (
	KeysV4         Kind = iota // UUID version 4: random
	KeysV7                     // UUID version 7: a clock of milliseconds, then random
	KeysSequential             // 0, 1, 2, …: all zero in the first 8 bytes
	KeysSamePrefix             // all alike in the first 8 bytes, random behind them
)

var kinds = [...]string{"v4", "v7", "sequential", "same-prefix"}

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	for i, name := range kinds {
		if s == name {
			return Kind(i), nil
		}
	}
	return 0, fmt.Errorf("kind of keys %q is none of %v", s, kinds)
}

func (k Kind) String() string { return kinds[k] }

// Keys is a sequence of ids, each of which comes once.
type Keys struct {
	Kind Kind
	Seed uint64
}

// perMilli is how many version 7 ids share a millisecond.
const perMilli = 16

// clock is where the clock of version 7 ids starts: 2018-05-01 UTC, in
// milliseconds since 1970.
const clock = 1525132800000

// At is the id with index i, a pure function of k and i. Different indices
// below 2^60 have different ids: the bits of an id that hold the index mixed
// are a bijection of it.
func (k Keys) At(i uint64) format.Key {
	hi, lo := mix(i+k.Seed*gamma), scramble(i^k.Seed>>2)
	switch k.Kind {
	case KeysSequential:
		return keyOf(0, i)
	case KeysSamePrefix:
		return keyOf(mix(k.Seed)&^versionMask|4<<versionShift, lo|variant)
	case KeysV7:
		return keyOf((clock+i/perMilli)<<16|7<<versionShift|hi>>52, lo|variant)
	default:
		return keyOf(hi&^versionMask|4<<versionShift, lo|variant)
	}
}

// Where a UUID has its version and its variant (RFC 9562, section 4).
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

// gamma is 2^64 divided by the golden ratio, odd.
const gamma = 0x9E3779B97F4A7C15

// mix spreads x over 64 bits: the finalizer of SplitMix64 (Steele, Lea and
// Flood, "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += gamma
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// scramble is a bijection of the numbers below 2^62. Multiplying by an odd
// number modulo a power of two can be undone, and so can xor with the own
// upper half.
func scramble(x uint64) uint64 {
	x = x * gamma & lowMask
	x ^= x >> 31
	x = x * 0xD6E8FEB86659FD93 & lowMask
	x ^= x >> 29
	x = x * 0xCA5A826395121157 & lowMask
	return x ^ x>>31
}

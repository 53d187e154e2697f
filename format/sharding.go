package format

import (
	"fmt"
	"math/bits"
)

// A Sharding tells how the records of a generation are divided into shards, each
// of which is a file. The shard of an id is a number of log2(Shards) bits of it.
type Sharding struct {
	Rule   ShardRule
	Shards uint32 // 1, or a power of two from MinShards to MaxShards
}

// Unsharded is the Sharding of a generation of one file.
var Unsharded = Sharding{ShardNone, 1}

// Limits of Sharding.Shards, except for 1. A multiple of 16 lets every hex digit
// of an id select whole shards.
const (
	MinShards = 16
	MaxShards = 4096
)

// A ShardRule tells which bits of an id are the number of its shard. The numbers
// are those of the format.
type ShardRule uint32

// The rules.
const (
	ShardNone  ShardRule = 0 // there is one shard
	ShardLast  ShardRule = 1 // the low bits: even shards for UUID v4, v7, and numbers that count up
	ShardFirst ShardRule = 2 // the high bits: even shards for UUID v1 and v4
)

// String returns none, last or first.
func (r ShardRule) String() string {
	switch r {
	case ShardNone:
		return "none"
	case ShardLast:
		return "last"
	case ShardFirst:
		return "first"
	}
	return fmt.Sprintf("ShardRule(%d)", uint32(r))
}

// ParseSharding returns the valid Sharding of this number of shards whose rule has the
// text by.
func ParseSharding(shards int, by string) (s Sharding, ok bool) {
	if shards < 1 || shards > MaxShards {
		return Sharding{}, false
	}
	for _, rule := range []ShardRule{ShardNone, ShardLast, ShardFirst} {
		if s := (Sharding{rule, uint32(shards)}); by == rule.String() && s.Valid() {
			return s, true
		}
	}
	return Sharding{}, false
}

// Valid reports whether a generation can be divided so.
func (s Sharding) Valid() bool {
	switch s.Rule {
	case ShardNone:
		return s.Shards == 1
	case ShardLast, ShardFirst:
		return s.Shards >= MinShards && s.Shards <= MaxShards && s.Shards&(s.Shards-1) == 0
	}
	return false
}

// Check returns an error that lists the valid shardings if s is not one of them.
func (s Sharding) Check() error {
	if s.Valid() {
		return nil
	}
	return fmt.Errorf("%d shards with the sharding rule %s; want 1 with none, or a power of two from %d to %d with last or first", s.Shards, s.Rule, MinShards, MaxShards)
}

// Bits returns log2(Shards), 0 to 12.
func (s Sharding) Bits() int { return bits.Len32(s.Shards) - 1 }

// ShardOf returns the shard of k. s must be valid.
func (s Sharding) ShardOf(k Key) uint32 {
	switch s.Rule {
	case ShardLast:
		return uint32(k.Lo) & (s.Shards - 1)
	case ShardFirst:
		return uint32(k.Hi >> (64 - s.Bits()))
	}
	return 0
}

// DigitOf returns the hex digit that selects the shard of k, 0 to 15: the last
// digit of the id, or the first. Without shards it is the last.
func (s Sharding) DigitOf(k Key) int {
	if s.Rule == ShardFirst {
		return int(k.Hi >> 60)
	}
	return int(k.Lo & 15)
}

// Digit returns the hex digit that the ids of a shard have where DigitOf looks.
// There must be shards.
func (s Sharding) Digit(shard uint32) int {
	if s.Rule == ShardFirst {
		return int(shard >> (s.Bits() - 4))
	}
	return int(shard & 15)
}

package format_test

import (
	"encoding/binary"
	"errors"
	"math/big"
	"strings"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

var shardings = func() (list []format.Sharding) {
	list = append(list, format.Unsharded)
	for n := uint32(16); n <= 4096; n *= 2 {
		list = append(list, format.Sharding{Rule: format.ShardLast, Shards: n}, format.Sharding{Rule: format.ShardFirst, Shards: n})
	}
	return list
}()

func TestShardingValid(t *testing.T) {
	valid := map[format.Sharding]bool{}
	for _, s := range shardings {
		valid[s] = true
	}
	for rule := range format.ShardRule(5) {
		for n := range uint32(10000) {
			if s := (format.Sharding{Rule: rule, Shards: n}); s.Valid() != valid[s] || (s.Check() == nil) != valid[s] {
				t.Errorf("%+v: Valid is %t, Check %v", s, s.Valid(), s.Check())
			}
		}
	}
	if s := (format.Sharding{Rule: format.ShardLast, Shards: 1 << 31}); s.Valid() {
		t.Errorf("%+v is valid", s)
	}
	const want = "16 shards with the sharding rule none; want 1 with none, or a power of two from 16 to 4096 with last or first"
	if err := (format.Sharding{Shards: 16}).Check(); err == nil || err.Error() != want {
		t.Errorf("Check: %v, want %s", err, want)
	}
}

// TestShardOf compares the shard and the digit of an id with those that its text
// has, read as a number of 128 bits.
func TestShardOf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(shardings).Draw(t, "sharding")
		k := format.Key{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		hex := strings.ReplaceAll(k.String(), "-", "")
		id, _ := new(big.Int).SetString(hex, 16)
		n := big.NewInt(int64(s.Shards))
		shard, digit := new(big.Int).Mod(id, n), hex[31:]
		if s.Rule == format.ShardFirst {
			shard.Mul(id, n).Rsh(shard, 128)
			digit = hex[:1]
		}
		if got := s.ShardOf(k); uint64(got) != shard.Uint64() || got >= s.Shards {
			t.Fatalf("%+v: shard %d of %s, want %s", s, got, k, shard)
		}
		if got := "0123456789abcdef"[s.DigitOf(k)]; string(got) != digit {
			t.Fatalf("%+v: digit %c of %s, want %s", s, got, k, digit)
		}
		if s != format.Unsharded && s.Digit(s.ShardOf(k)) != s.DigitOf(k) {
			t.Fatalf("%+v: digit %x of the shard of %s, want %s", s, s.Digit(s.ShardOf(k)), k, digit)
		}
	})
}

// TestCorruptShard damages the header field of the sharding and the ids of a file
// that has 130 records of shard 5.
func TestCorruptShard(t *testing.T) {
	u32 := binary.BigEndian.PutUint32
	last, first := format.Sharding{Rule: format.ShardLast, Shards: 16}, format.Sharding{Rule: format.ShardFirst, Shards: 16}
	for _, c := range []struct {
		name     string
		sharding format.Sharding
		stage    string // prefix of the error; empty: the file is good
		damage   func(b []byte)
	}{
		{"none", last, "", func([]byte) {}},
		{"none", first, "", func([]byte) {}},
		{"first in place of last", last, "header", func(b []byte) { u32(b[28:], 2) }},
		{"last in place of first", first, "header", func(b []byte) { u32(b[28:], 1) }},
		{"no rule", last, "header", func(b []byte) { u32(b[28:], 0) }},
		{"rule 3", last, "header", func(b []byte) { u32(b[28:], 3) }},
		{"rule 256", last, "header", func(b []byte) { u32(b[28:], 1<<8) }},
		{"shard 6", last, "header", func(b []byte) { u32(b[20:], 6) }},
		{"shard 4", first, "header", func(b []byte) { u32(b[20:], 4) }},
		{"shard 16", last, "header", func(b []byte) { u32(b[20:], 16) }},
		{"32 shards", last, "header", func(b []byte) { u32(b[24:], 32) }}, // the last id is of shard 21
		{"1 shard", last, "header", func(b []byte) { u32(b[20:], 0); u32(b[24:], 1) }},
		{"first id of another shard", last, "header", func(b []byte) { b[72+15]++ }},
		{"last id of another shard", first, "header", func(b []byte) { b[88] = 0x60 }},
		{"fence of another shard", last, "block 1", func(b []byte) { b[fencesOff+16+15]++; b[block1Off+15]++ }},
		{"second record of another shard", last, "block 0", func(b []byte) { b[block0Off+32+15]++ }},
		{"last record of block 0 of another shard", last, "block 0", func(b []byte) { b[block1Off-32+15]-- }},
	} {
		t.Run(c.sharding.Rule.String()+"/"+c.name, func(t *testing.T) {
			data := dataSet{header: format.Header{Sharding: c.sharding, Shard: 5}, styles: []format.TimestampStyle{{}}}
			for i := range uint64(130) {
				k := format.Key{Lo: i<<4 | 5}
				if c.sharding == first {
					k = format.Key{Hi: 5<<60 | i}
				}
				data.records = append(data.records, format.MakeRecord(k, false, format.Price{}, 0, 0))
			}
			b := data.write(t)
			c.damage(b)
			reseal(b)
			_, err := open(b)
			switch {
			case c.stage == "" && err != nil:
				t.Error(err)
			case c.stage != "" && (!errors.Is(err, format.ErrCorrupt) || !strings.HasPrefix(err.Error(), c.stage+":")):
				t.Errorf("error %v, want stage %s and kind %v", err, c.stage, format.ErrCorrupt)
			}
		})
	}
}

package reader_test

import (
	"context"
	"maps"
	"math/bits"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// writeFile writes a file at path, like gentest.Write. Its records are recordOf
// each key; the keys must be sorted.
func writeFile(t gentest.T, path string, id generation.ID, keys []format.Key) {
	t.Helper()
	gentest.WriteSeq(t, path, id, len(keys), func(yield func(format.Record) bool) {
		for _, k := range keys {
			if !yield(recordOf(k)) {
				return
			}
		}
	})
}

// recordOf is a record whose price and date are as good as random.
func recordOf(k format.Key) format.Record {
	h := mix(k.Hi ^ mix(k.Lo))
	return format.MakeRecord(k, h&1 == 1, format.Price{Digits: h >> 16, Scale: 2}, 63_000_000_000+h&0xFFFFF, 0)
}

// mix is the finalizer of splitmix64, a bijection.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// distributions are ways in which ids may be spread: each makes the id with
// number i. They need not come in order, nor all be different.
var distributions = map[string]func(i uint64) format.Key{
	"v4": func(i uint64) format.Key {
		return format.Key{Hi: mix(i)&^0xF000 | 0x4000, Lo: mix(^i)&^(3<<62) | 2<<62}
	},
	"v7": func(i uint64) format.Key {
		return format.Key{Hi: (1_700_000_000_000+i/50)<<16 | 0x7000 | mix(i)&0xFFF, Lo: mix(^i)&^(3<<62) | 2<<62}
	},
	"v7 and outliers": func(i uint64) format.Key {
		switch i {
		case 0:
			return format.Key{}
		case 1:
			return format.Key{Hi: ^uint64(0), Lo: ^uint64(0)}
		}
		return format.Key{Hi: (1_700_000_000_000+i)<<16 | 0x7000, Lo: 2<<62 | i}
	},
	"ties":        func(i uint64) format.Key { return format.Key{Hi: 1 << (i % 3 * 31), Lo: mix(i)} },
	"sequential":  func(i uint64) format.Key { return plus(format.Key{Hi: 0x123456789ABCDEF0, Lo: ^uint64(0) - 700}, i) },
	"same prefix": func(i uint64) format.Key { return format.Key{Hi: 0xABCDEF0123456000 + i>>9, Lo: mix(i)} },
	"same hi":     func(i uint64) format.Key { return format.Key{Hi: 7, Lo: mix(i)} },
	"powers":      func(i uint64) format.Key { return format.Key{Hi: 1 << (i % 64), Lo: 1<<(i/64%64) + i>>12} },
	"one crowd":   func(i uint64) format.Key { return format.Key{Hi: mix(i) >> (i % 60), Lo: i} },
}

// plus is k + n, modulo 2^128.
func plus(k format.Key, n uint64) format.Key {
	lo, carry := bits.Add64(k.Lo, n, 0)
	return format.Key{Hi: k.Hi + carry, Lo: lo}
}

// minusOne is k - 1, modulo 2^128.
func minusOne(k format.Key) format.Key {
	lo, borrow := bits.Sub64(k.Lo, 1, 0)
	return format.Key{Hi: k.Hi - borrow, Lo: lo}
}

func flip(k format.Key, bit int) format.Key {
	if bit < 64 {
		k.Hi ^= 1 << bit
	} else {
		k.Lo ^= 1 << (bit - 64)
	}
	return k
}

// makeKeys is about n keys in order, each once.
func makeKeys(distribution string, n int, seed uint64) []format.Key {
	keys := make([]format.Key, n)
	for i := range keys {
		keys[i] = distributions[distribution](seed + uint64(i))
	}
	slices.SortFunc(keys, format.Key.Compare)
	return slices.Compact(keys)
}

var accesses = []reader.Access{reader.AccessMmap, reader.AccessPread}

// TestGet holds lookups against a map.
func TestGet(t *testing.T) {
	dir := t.TempDir()
	names := slices.Sorted(maps.Keys(distributions))
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(
			rapid.SampledFrom([]int{0, 1, 2, 127, 128, 129, 255, 256, 257, 383, 384, 385, 1000, 5000}),
			rapid.IntRange(0, 3000),
		).Draw(t, "n")
		seed := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(t, "seed")
		keys := makeKeys(rapid.SampledFrom(names).Draw(t, "distribution"), n, seed)
		oracle := make(map[format.Key]bool, len(keys))
		for _, k := range keys {
			oracle[k] = true
		}
		path := filepath.Join(dir, "f")
		writeFile(t, path, 1, keys)
		for _, access := range accesses {
			f, err := reader.Open(path, access)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if f.Access() != access {
				t.Fatalf("access %v, want %v", f.Access(), access)
			}
			check := func(k format.Key) {
				r, found, err := f.Get(k)
				if err != nil {
					t.Fatalf("%v: Get(%s): %v", access, k, err)
				}
				want := format.Record{}
				if oracle[k] {
					want = recordOf(k)
				}
				if found != oracle[k] || r != want {
					t.Fatalf("%v: Get(%s) = %x, %v; want %x, %v", access, k, r, found, want, oracle[k])
				}
			}
			// The first time through the fences, then with what Verify learned.
			for range 2 {
				check(format.Key{})
				check(format.Key{Hi: ^uint64(0), Lo: ^uint64(0)})
				for i, k := range keys {
					check(k)
					check(flip(k, int(mix(seed+uint64(i))%128)))
					check(plus(k, 1))
					check(minusOne(k))
					check(format.Key{Hi: mix(k.Lo), Lo: mix(k.Hi)})
				}
				if err := f.Verify(context.Background(), nil); err != nil {
					t.Fatal(err)
				}
			}
			var scanned []format.Key
			err = f.Scan(context.Background(), func(records []format.Record) error {
				for i := range records {
					scanned = append(scanned, records[i].Key())
					if records[i] != recordOf(records[i].Key()) {
						t.Fatalf("Scan: %x", records[i])
					}
				}
				return nil
			})
			if err != nil || !slices.Equal(scanned, keys) {
				t.Fatalf("Scan gives %d records, %v; want %d", len(scanned), err, len(keys))
			}
		}
	})
}

func TestAccessAuto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	writeFile(t, path, 1, makeKeys("v4", 1, 0))
	f, err := reader.Open(path, reader.AccessAuto)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Access() != reader.AccessMmap {
		t.Errorf("a file of one record is read by %v", f.Access())
	}
}

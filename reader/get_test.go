package reader_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/reader"
)

// TestGet compares lookups with a map: before Verify, by the fences, and after
// it, with a model trained from the records.
func TestGet(t *testing.T) {
	dir := t.TempDir()
	names := slices.Sorted(maps.Keys(distributions))
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(
			rapid.SampledFrom([]int{0, 1, 2, 127, 128, 129, 255, 256, 257, 383, 384, 385, 1000, 5000}),
			rapid.IntRange(0, 3000),
		).Draw(rt, "n")
		seed := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64()).Draw(rt, "seed")
		keys := makeKeys(rapid.SampledFrom(names).Draw(rt, "distribution"), n, seed)
		present := make(map[format.Key]bool, len(keys))
		for _, k := range keys {
			present[k] = true
		}
		path := filepath.Join(dir, "f")
		writeKeys(rt, path, 1, keys)
		for _, access := range accesses {
			f, err := reader.Open(path, access)
			if err != nil {
				rt.Fatal(err)
			}
			defer f.Close()
			check := func(k format.Key) {
				r, found, err := f.Get(k)
				if err != nil {
					rt.Fatalf("%v: Get(%s): %v", access, k, err)
				}
				want := format.Record{}
				if present[k] {
					want = recordOf(k)
				}
				if found != present[k] || r != want {
					rt.Fatalf("%v: Get(%s) = %x, %t; want %x, %t", access, k, r, found, want, present[k])
				}
			}
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
				if err := f.Verify(t.Context(), nil); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}

// TestVerifyTrainsModel checks that a verified mapping is looked up by a model,
// and that Open and pread do without.
func TestVerifyTrainsModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	writeKeys(t, path, 1, makeKeys("v4", 1000, 0))
	for _, access := range accesses {
		f := open(t, path, access)
		if reader.Trained(f) {
			t.Errorf("%v: a model before Verify", access)
		}
		verify(t, f)
		if got, want := reader.Trained(f), access == reader.AccessMmap; got != want {
			t.Errorf("%v: a model after Verify: %t, want %t", access, got, want)
		}
	}
}

// TestRequestDoesNotAllocate covers whole requests: acquire, two lookups and a
// batch, release.
func TestRequestDoesNotAllocate(t *testing.T) {
	for _, access := range accesses {
		for _, sharding := range shardings {
			t.Run(fmt.Sprintf("%v, %d shards by %v", access, sharding.Shards, sharding.Rule), func(t *testing.T) {
				s := newTestStore(t, reader.StoreOptions{Access: access})
				s.publishShards(1, sharding)
				s.poll()
				keys, absent := keysOf(1), keysOf(2)
				batch := append(slices.Clone(keys[:50]), absent[:14]...)
				records, found := make([]format.Record, len(batch)), make([]bool, len(batch))
				i := 0
				n := testing.AllocsPerRun(300, func() {
					g := s.Acquire(5)
					_, _, _ = g.Get(keys[i])
					_, _, _ = g.File(absent[i]).Get(absent[i])
					_ = g.GetBatch(batch, records, found)
					s.Release(g, 5)
					i = (i + 1) % len(keys)
				})
				// The race detector makes sync.Pool drop buffers at random.
				if n != 0 && !raceEnabled {
					t.Errorf("%v allocations per request", n)
				}
			})
		}
	}
}

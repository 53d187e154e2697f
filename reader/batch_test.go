package reader_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestGetBatch compares batches with single lookups: ids that are present,
// absent neighbors, and repetitions, in random order.
func TestGetBatch(t *testing.T) {
	dir := t.TempDir()
	names := slices.Sorted(maps.Keys(distributions))
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(
			rapid.SampledFrom([]int{0, 1, 128, 129, 256, 257, 384, 385, 5000}),
			rapid.IntRange(0, 3000),
		).Draw(rt, "n")
		seed := rapid.Uint64().Draw(rt, "seed")
		present := makeKeys(rapid.SampledFrom(names).Draw(rt, "distribution"), n, seed)
		path := filepath.Join(dir, "f")
		writeKeys(rt, path, 1, present)
		keys := []format.Key{{}, {Hi: ^uint64(0), Lo: ^uint64(0)}}
		for i, k := range present {
			keys = append(keys, k, flip(k, int(mix(seed+uint64(i))%128)), plus(k, 1), minusOne(k), present[mix(uint64(i))%uint64(len(present))])
		}
		slices.SortFunc(keys, func(a, b format.Key) int {
			return format.Key{Hi: mix(a.Lo + seed), Lo: a.Hi}.Compare(format.Key{Hi: mix(b.Lo + seed), Lo: b.Hi})
		})
		keys = keys[:rapid.IntRange(0, len(keys)).Draw(rt, "keys")]
		for _, access := range accesses {
			f, err := reader.Open(path, access)
			if err != nil {
				rt.Fatal(err)
			}
			defer f.Close()
			for range 2 { // without a model, then with one
				// Results of an earlier batch must not remain.
				records := slices.Repeat([]format.Record{{0xFF}}, len(keys))
				found := slices.Repeat([]bool{true}, len(keys))
				if err := f.GetBatch(keys, records, found); err != nil {
					rt.Fatal(err)
				}
				for i, k := range keys {
					r, ok, err := f.Get(k)
					if err != nil || records[i] != r || found[i] != ok {
						rt.Fatalf("%v: key %d, %s: %x, %t; want %x, %t, %v", access, i, k, records[i], found[i], r, ok, err)
					}
				}
				if err := f.Verify(t.Context(), nil); err != nil {
					rt.Fatal(err)
				}
			}
		}
	})
}

// TestGetBatchOfShards compares batches in a sharded generation with single
// lookups: ids that are present or absent, and repetitions, in random order. With
// a foreign id, the batch fails and names the first.
func TestGetBatchOfShards(t *testing.T) {
	root := t.TempDir()
	names := slices.Sorted(maps.Keys(distributions))
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		gentest.Must(rt, err)
		sharding := rapid.SampledFrom(shardings).Draw(rt, "sharding")
		digits := rapid.SampledFrom([]generation.Digits{generation.AllDigits, 0x00FF}).Draw(rt, "digits")
		seed := rapid.Uint64().Draw(rt, "seed")
		present := makeKeys(rapid.SampledFrom(names).Draw(rt, "distribution"), rapid.IntRange(0, 3000).Draw(rt, "n"), seed)
		publishShards(rt, dir, 1, sharding, present)
		keys := []format.Key{{}, {Hi: ^uint64(0), Lo: ^uint64(0)}}
		for i, k := range present {
			keys = append(keys, k, flip(k, int(mix(seed+uint64(i))%128)), present[mix(uint64(i))%uint64(len(present))])
		}
		slices.SortFunc(keys, func(a, b format.Key) int {
			return format.Key{Hi: mix(a.Lo + seed), Lo: a.Hi}.Compare(format.Key{Hi: mix(b.Lo + seed), Lo: b.Hi})
		})
		keys = keys[:rapid.IntRange(0, len(keys)).Draw(rt, "keys")]
		foreign := slices.IndexFunc(keys, func(k format.Key) bool { return !digits.Owns(sharding, sharding.ShardOf(k)) })
		s := reader.NewStore(dir, reader.StoreOptions{
			Access:    rapid.SampledFrom(accesses).Draw(rt, "access"),
			Digits:    digits,
			IndexOnly: rapid.Bool().Draw(rt, "index only"),
		})
		gentest.Must(rt, s.Poll(t.Context()))
		g := s.Acquire(0)
		check := func(keys []format.Key) {
			// Results of an earlier batch must not remain.
			records := slices.Repeat([]format.Record{{0xFF}}, len(keys))
			found := slices.Repeat([]bool{true}, len(keys))
			gentest.Must(rt, g.GetBatch(keys, records, found))
			for i, k := range keys {
				r, ok, err := g.Get(k)
				if err != nil || records[i] != r || found[i] != ok {
					rt.Fatalf("key %d, %s: %x, %t; want %x, %t, %v", i, k, records[i], found[i], r, ok, err)
				}
			}
		}
		if foreign >= 0 {
			err := g.GetBatch(keys, make([]format.Record, len(keys)), make([]bool, len(keys)))
			if !errors.Is(err, reader.ErrForeign) || !strings.Contains(err.Error(), keys[foreign].String()) {
				rt.Fatalf("GetBatch: %v, want %v and %s", err, reader.ErrForeign, keys[foreign])
			}
		}
		check(owned(sharding, digits, keys))
		s.Release(g, 0)
		gentest.Must(rt, errors.Join(s.Close(), os.RemoveAll(dir)))
	})
}

func TestGetBatchErrors(t *testing.T) {
	keys := makeKeys("v4", 10_000, 0)
	for _, access := range accesses {
		for _, c := range []struct {
			name   string
			change func(path string, f *reader.File)
			want   error
		}{
			{"truncated", func(path string, _ *reader.File) {
				gentest.Must(t, os.Truncate(path, format.BlockOff(40)))
			}, reader.ErrFault},
			{"damaged", func(path string, _ *reader.File) {
				gentest.Overwrite(t, path, format.BlockOff(40)+format.KeyLen, []byte("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"))
			}, format.ErrCorrupt},
			{"closed", func(_ string, f *reader.File) { gentest.Must(t, f.Close()) }, os.ErrClosed},
		} {
			for _, verified := range []bool{false, true} {
				path := filepath.Join(t.TempDir(), "f")
				writeKeys(t, path, 1, keys)
				f := open(t, path, access)
				if verified {
					verify(t, f)
				}
				c.change(path, f)
				records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
				if err := f.GetBatch(keys, records, found); !errors.Is(err, c.want) {
					t.Errorf("%v, %s, verified %t: %v, want %v", access, c.name, verified, err, c.want)
				}
				if c.name == "closed" || c.name == "truncated" && access == reader.AccessMmap {
					continue // the fences, at the end of the file, are gone
				}
				intact := keys[:20*format.RecordsPerBlock]
				if err := f.GetBatch(intact, records, found); err != nil {
					t.Errorf("%v, %s, verified %t: %v", access, c.name, verified, err)
				}
				for i, k := range intact {
					if !found[i] || records[i] != recordOf(k) {
						t.Fatalf("%v, %s, verified %t: key %d: %x, %t", access, c.name, verified, i, records[i], found[i])
					}
				}
			}
		}
	}
}

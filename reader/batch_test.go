package reader_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestGetBatch holds batches against Get: ids that are there, near by, and
// repeated, in random order.
func TestGetBatch(t *testing.T) {
	dir := t.TempDir()
	names := slices.Sorted(maps.Keys(distributions))
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(
			rapid.SampledFrom([]int{0, 1, 128, 129, 256, 257, 384, 385, 5000}),
			rapid.IntRange(0, 3000),
		).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		present := makeKeys(rapid.SampledFrom(names).Draw(t, "distribution"), n, seed)
		path := filepath.Join(dir, "f")
		writeFile(t, path, 1, present)
		keys := []format.Key{{}, {Hi: ^uint64(0), Lo: ^uint64(0)}}
		for i, k := range present {
			keys = append(keys, k, flip(k, int(mix(seed+uint64(i))%128)), plus(k, 1), minusOne(k), present[mix(uint64(i))%uint64(len(present))])
		}
		slices.SortFunc(keys, func(a, b format.Key) int {
			return format.Key{Hi: mix(a.Lo + seed), Lo: a.Hi}.Compare(format.Key{Hi: mix(b.Lo + seed), Lo: b.Hi})
		})
		keys = keys[:rapid.IntRange(0, len(keys)).Draw(t, "keys")]
		for _, access := range accesses {
			f, err := reader.Open(path, access)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// The first time without what Verify learns, then with it.
			for range 2 {
				// What is left of the batch before must not show.
				records := slices.Repeat([]format.Record{{0xFF}}, len(keys))
				found := slices.Repeat([]bool{true}, len(keys))
				if err := f.GetBatch(keys, records, found); err != nil {
					t.Fatal(err)
				}
				for i, k := range keys {
					r, ok, err := f.Get(k)
					if err != nil || records[i] != r || found[i] != ok {
						t.Fatalf("%v: key %d, %s: %x, %v; want %x, %v, %v", access, i, k, records[i], found[i], r, ok, err)
					}
				}
				if err := f.Verify(context.Background(), nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestGetBatchErrors looks up in a file that was cut, damaged or closed.
func TestGetBatchErrors(t *testing.T) {
	keys := makeKeys("v4", 10_000, 0)
	for _, access := range accesses {
		for _, c := range []struct {
			name   string
			change func(path string, f *reader.File)
			want   error
		}{
			{"cut", func(path string, _ *reader.File) {
				if err := os.Truncate(path, format.BlockOff(40)); err != nil {
					t.Fatal(err)
				}
			}, reader.ErrFault},
			{"damaged", func(path string, _ *reader.File) {
				gentest.Overwrite(t, path, format.BlockOff(40)+format.KeyLen, []byte("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"))
			}, format.ErrCorrupt},
			{"closed", func(_ string, f *reader.File) {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
			}, os.ErrClosed},
		} {
			for _, verified := range []bool{false, true} {
				path := filepath.Join(t.TempDir(), "f")
				writeFile(t, path, 1, keys)
				f, err := reader.Open(path, access)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if verified {
					if err := f.Verify(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
				}
				c.change(path, f)
				records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
				if err := f.GetBatch(keys, records, found); !errors.Is(err, c.want) {
					t.Errorf("%v, %s, verified %v: %v, want %v", access, c.name, verified, err, c.want)
				}
				if c.name == "closed" || c.name == "cut" && access == reader.AccessMmap {
					continue // the fences, which stand at the end of the file, are gone
				}
				first := keys[:20*format.RecordsPerBlock] // which are as they were
				if err := f.GetBatch(first, records, found); err != nil {
					t.Errorf("%v, %s, verified %v: %v", access, c.name, verified, err)
				}
				for i, k := range first {
					if !found[i] || records[i] != recordOf(k) {
						t.Fatalf("%v, %s, verified %v: key %d: %x, %v", access, c.name, verified, i, records[i], found[i])
					}
				}
			}
		}
	}
}

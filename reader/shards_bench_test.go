package reader_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// BenchmarkShards compares lookups in an unsharded generation with the same in one
// of 16 shards. In "get" each key depends on the record before, like in BenchmarkGet;
// in "batch" the keys are looked up 256 at a time, like in package httpd.
func BenchmarkShards(b *testing.B) {
	one, sixteen := benchGeneration(b, format.Unsharded), benchGeneration(b, last16)
	get := func(g *reader.Generation) chain {
		return func(n int, read byte) byte {
			for range n {
				r, found, err := g.Get(benchKey(next(steps, read)))
				if !found || err != nil {
					b.Fatal(found, err)
				}
				read = r[23]
				steps++
			}
			return read
		}
	}
	b.Run("get", func(b *testing.B) { compare(b, "1-shard", get(one), "16-shards", get(sixteen)) })
	batch := func(g *reader.Generation) chain {
		var keys [256]format.Key
		var records [len(keys)]format.Record
		var found [len(keys)]bool
		return func(n int, read byte) byte {
			for n > 0 {
				keys := keys[:min(n, len(keys))]
				for i := range keys {
					keys[i] = benchKey(next(steps, 0))
					steps++
				}
				if err := g.GetBatch(keys, records[:len(keys)], found[:len(keys)]); err != nil || slices.Contains(found[:len(keys)], false) {
					b.Fatal(err)
				}
				n -= len(keys)
			}
			return read
		}
	}
	b.Run("batch", func(b *testing.B) { compare(b, "1-shard", batch(one), "16-shards", batch(sixteen)) })
}

// benchGeneration returns a verified generation with the records of benchFile.
func benchGeneration(b *testing.B, sharding format.Sharding) *reader.Generation {
	b.Helper()
	path := benchFile(b)
	dir, err := os.MkdirTemp(filepath.Dir(path), "")
	if err != nil {
		b.Fatal(err)
	}
	if sharding == format.Unsharded {
		gentest.Must(b, os.Link(path, gentest.Path(dir, 1)))
	} else {
		records := make([]format.Record, 0, benchKeys)
		f, err := generation.OpenFile(path)
		gentest.Must(b, err)
		gentest.Must(b, f.Scan(b.Context(), func(batch []format.Record) error {
			records = append(records, batch...)
			return nil
		}))
		gentest.Must(b, f.Close())
		gentest.PublishSharded(b, dir, 1, sharding, records)
	}
	s := reader.NewStore(dir, reader.StoreOptions{Access: reader.AccessMmap})
	gentest.Must(b, s.Poll(b.Context()))
	g := s.Acquire(0)
	b.Cleanup(func() {
		s.Release(g, 0)
		gentest.Must(b, s.Close())
	})
	return g
}

package reader_test

import (
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/exp/mmap"

	"promostore/format"
	"promostore/reader"
)

// benchKeys is the size of the file that is looked up in.
const benchKeys = 10_000_000

// benchDir holds the file for all benchmarks of the run. TestMain removes it.
var benchDir string

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(benchDir)
	os.Exit(code)
}

// benchKey is the id number i, of benchKeys. Ids are computed, since reading
// them from a table would be one more read from memory.
func benchKey(i uint64) format.Key {
	hi := mix(i)
	return format.Key{Hi: hi, Lo: mix(^hi)}
}

func benchFile(b *testing.B) string {
	path := filepath.Join(benchDir, "bench.pgen")
	if benchDir != "" {
		return path
	}
	var err error
	if benchDir, err = os.MkdirTemp("", "reader-bench-"); err != nil {
		b.Fatal(err)
	}
	path = filepath.Join(benchDir, "bench.pgen")
	his := make([]uint64, benchKeys)
	for i := range his {
		his[i] = mix(uint64(i))
	}
	slices.Sort(his)
	keys := make([]format.Key, len(his))
	for i, hi := range his {
		keys[i] = format.Key{Hi: hi, Lo: mix(^hi)}
	}
	writeFile(b, path, 1, keys)
	return path
}

// next is a number below benchKeys that depends on what was read last, so that
// no read begins before the last has ended. step counts the reads: without it
// the numbers would soon go round in a cycle that fits into a cache.
func next(step int, read byte) uint64 {
	hi, _ := bits.Mul64(mix(uint64(step)<<8|uint64(read)), benchKeys)
	return hi
}

// BenchmarkFloor is one dependent random read of the mapping.
func BenchmarkFloor(b *testing.B) {
	at, err := mmap.Open(benchFile(b))
	if err != nil {
		b.Fatal(err)
	}
	defer at.Close()
	for i := 0; i < at.Len(); i += os.Getpagesize() {
		at.At(i)
	}
	step, i := 0, uint64(0)
	for ; b.Loop(); step++ {
		read := at.At(int(format.HeaderLen + i*format.RecordLen + 23))
		i = next(step, read)
	}
}

// BenchmarkGet is one lookup of an id that is there, in random order.
func BenchmarkGet(b *testing.B) {
	for _, access := range accesses {
		b.Run(access.String(), func(b *testing.B) {
			f, err := reader.Open(benchFile(b), access)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := f.Verify(b.Context(), nil); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			step, i := 0, uint64(0)
			for ; b.Loop(); step++ {
				r, found, err := f.Get(benchKey(i))
				if !found || err != nil {
					b.Fatal(found, err)
				}
				i = next(step, r[23])
			}
		})
	}
}

// BenchmarkGetAbsent is one lookup of an id that is not there.
func BenchmarkGetAbsent(b *testing.B) {
	f, err := reader.Open(benchFile(b), reader.AccessMmap)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	step, i := 0, uint64(0)
	for ; b.Loop(); step++ {
		k := benchKey(i)
		r, found, err := f.Get(format.Key{Hi: k.Hi, Lo: ^k.Lo})
		if found || err != nil {
			b.Fatal(found, err)
		}
		i = next(step, r[23])
	}
}

// BenchmarkAcquire is what a request pays to pin its generation.
func BenchmarkAcquire(b *testing.B) {
	dir := b.TempDir()
	publish(b, dir, 1, makeKeys("v4", 1000, 0))
	s := reader.NewStore(dir, reader.StoreOptions{})
	defer s.Close()
	if err := s.Poll(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var slots uint64
	b.RunParallel(func(pb *testing.PB) {
		slot := atomic.AddUint64(&slots, 1)
		for pb.Next() {
			s.Release(s.Acquire(slot), slot)
		}
	})
}

package reader_test

import (
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

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

// A chain is a number of reads of random records, each of which depends on
// what was read before. It returns the last byte.
type chain func(n int, read byte) byte

// steps counts the reads of all chains.
var steps int

// BenchmarkGet is one lookup of an id that is there, in random order, in turn
// with making the same id and one read of the mapping, which is the floor. ns/op is of both together;
// the other figures are one by one. In "chained" each id depends on the record
// before; in "overlapped" the ids are known beforehand, as those of a batch.
func BenchmarkGet(b *testing.B) {
	at, err := mmap.Open(benchFile(b))
	if err != nil {
		b.Fatal(err)
	}
	defer at.Close()
	for i := 0; i < at.Len(); i += os.Getpagesize() {
		at.At(i)
	}
	floor := func(n int, read byte) byte {
		for range n {
			i := next(steps, read)
			// The id that is looked up is made here, too, and is a part of the
			// address: it makes the last byte of the price or the first behind it.
			read = at.At(int(format.HeaderLen + i*format.RecordLen + 23 + benchKey(i).Lo>>63))
			steps++
		}
		return read
	}
	for _, c := range []struct {
		name     string
		access   reader.Access
		verified bool
		chained  bool
	}{
		{"mmap/chained", reader.AccessMmap, true, true},
		{"mmap/overlapped", reader.AccessMmap, true, false},
		{"mmap/chained/unverified", reader.AccessMmap, false, true},
		{"pread/chained", reader.AccessPread, true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			f, err := reader.Open(benchFile(b), c.access)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if c.verified {
				if err := f.Verify(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
			}
			compare(b, floor, func(n int, read byte) byte {
				for range n {
					i := next(steps, 0)
					if c.chained {
						i = next(steps, read)
					}
					r, found, err := f.Get(benchKey(i))
					if !found || err != nil {
						b.Fatal(found, err)
					}
					read = r[23]
					steps++
				}
				return read
			})
		})
	}
}

// compare runs a floor and what is held against it in turn, so that both have
// the same share of whatever else the machine does. One b.Loop is one of each,
// but they are run a turn at a time.
func compare(b *testing.B, floor, get chain) {
	const turn = 10_000
	read := get(100*turn, floor(100*turn, 0)) // page tables and caches
	var inFloor, inGet time.Duration
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%turn != 0 {
			continue
		}
		start := time.Now()
		read = floor(turn, read)
		middle := time.Now()
		read = get(turn, read)
		inFloor += middle.Sub(start)
		inGet += time.Since(middle)
	}
	turns := float64(max(n/turn, 1) * turn)
	b.ReportMetric(float64(inFloor.Nanoseconds())/turns, "floor-ns")
	b.ReportMetric(float64(inGet.Nanoseconds())/turns, "get-ns")
	b.ReportMetric(float64(inGet)/float64(inFloor), "ratio")
}

// BenchmarkGetBatch is a batch of 1,000 ids that are there, in random order, in
// turn with looking them up one at a time. ratio is how much longer that takes.
func BenchmarkGetBatch(b *testing.B) {
	f, err := reader.Open(benchFile(b), reader.AccessMmap)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	keys := make([]format.Key, 1000)
	records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
	var inOne, inBatch time.Duration
	b.ReportAllocs()
	for b.Loop() {
		for i := range keys {
			keys[i] = benchKey(next(steps, 0))
			steps++
		}
		start := time.Now()
		if err := f.GetBatch(keys, records, found); err != nil || slices.Contains(found, false) {
			b.Fatal(err)
		}
		inBatch += time.Since(start)
		for i := range keys {
			keys[i] = benchKey(next(steps, 0))
			steps++
		}
		start = time.Now()
		for i, k := range keys {
			var err error
			if records[i], found[i], err = f.Get(k); err != nil || !found[i] {
				b.Fatal(found[i], err)
			}
		}
		inOne += time.Since(start)
	}
	n := float64(b.N * len(keys))
	b.ReportMetric(float64(inOne.Nanoseconds())/n, "one-ns/key")
	b.ReportMetric(float64(inBatch.Nanoseconds())/n, "batch-ns/key")
	b.ReportMetric(float64(inOne)/float64(inBatch), "ratio")
}

// BenchmarkGetAbsent is one lookup of an id that is not there, though one near
// by is.
func BenchmarkGetAbsent(b *testing.B) {
	f, err := reader.Open(benchFile(b), reader.AccessMmap)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for ; b.Loop(); steps++ {
		k := benchKey(next(steps, 0))
		if _, found, err := f.Get(format.Key{Hi: k.Hi, Lo: ^k.Lo}); found || err != nil {
			b.Fatal(found, err)
		}
	}
}

// BenchmarkVerify is a whole verification of a cached file.
func BenchmarkVerify(b *testing.B) {
	for _, access := range accesses {
		b.Run(access.String(), func(b *testing.B) {
			path := benchFile(b)
			for b.Loop() {
				f, err := reader.Open(path, access)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(f.Header().FileLen)
				if err := f.Verify(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
		})
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

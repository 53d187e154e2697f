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

// benchKeys is the number of records in the file of the benchmarks.
const benchKeys = 10_000_000

// benchDir has the file of all benchmarks. TestMain removes it.
var benchDir string

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(benchDir)
	os.Exit(code)
}

// benchKey returns the key with number i, below benchKeys. Keys are computed,
// because reading them from a table would be one more read from memory.
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
	writeKeys(b, path, 1, keys)
	return path
}

// next returns a number below benchKeys that depends on the byte that was read
// last, so that no read begins before the last has ended. step counts the reads:
// without it the numbers would soon enter a cycle that fits into a cache.
func next(step int, read byte) uint64 {
	hi, _ := bits.Mul64(mix(uint64(step)<<8|uint64(read)), benchKeys)
	return hi
}

// A chain reads n random records, each of which depends on the one before, and
// returns the last byte.
type chain func(n int, read byte) byte

// steps counts the reads of all chains.
var steps int

// BenchmarkGet alternates lookups of present keys, in random order, with the
// floor: computing the same key and one read of the mapping. ns/op is the sum of
// both; the other metrics are separate. In "chained" each key depends on the
// record before; in "overlapped" keys are known in advance, like in a batch.
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
			// Compute the key as well and make it part of the address: it selects
			// the last byte of the price or the byte after it.
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
			compare(b, "floor", floor, "get", func(n int, read byte) byte {
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

// compare alternates rounds of two chains, so that other load on the machine
// affects both equally. One iteration of b.Loop stands for one read of each. ratio
// is the time of the second divided by that of the first.
func compare(b *testing.B, firstName string, first chain, secondName string, second chain) {
	const round = 10_000
	read := second(100*round, first(100*round, 0)) // warms page tables and caches
	var inFirst, inSecond time.Duration
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n%round != 0 {
			continue
		}
		start := time.Now()
		read = first(round, read)
		middle := time.Now()
		read = second(round, read)
		inFirst += middle.Sub(start)
		inSecond += time.Since(middle)
	}
	reads := float64(max(n/round, 1) * round)
	b.ReportMetric(float64(inFirst.Nanoseconds())/reads, firstName+"-ns")
	b.ReportMetric(float64(inSecond.Nanoseconds())/reads, secondName+"-ns")
	b.ReportMetric(float64(inSecond)/float64(inFirst), "ratio")
}

// BenchmarkGetBatch alternates batches of 1,000 present keys, in random order,
// with single lookups. ratio is the time of single lookups divided by that of a
// batch.
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
	var inSingle, inBatch time.Duration
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
		inSingle += time.Since(start)
	}
	n := float64(b.N * len(keys))
	b.ReportMetric(float64(inSingle.Nanoseconds())/n, "single-ns/key")
	b.ReportMetric(float64(inBatch.Nanoseconds())/n, "batch-ns/key")
	b.ReportMetric(float64(inSingle)/float64(inBatch), "ratio")
}

// BenchmarkGetAbsent looks up absent keys that are close to present ones.
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

// BenchmarkVerify verifies a file in the page cache.
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

// BenchmarkAcquire acquires and releases the live generation, like a request.
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

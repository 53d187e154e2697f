package extsort_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"promostore/builder/extsort"
	"promostore/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny makes spills, splits and merges of a few thousand records.
var tiny = extsort.Sizes{Arena: 1500 * 8 * format.RecordLen, Page: 3, Leaf: 512, Direct: 8 << 10}

const (
	chunkRecords = 64
	memory       = 64 << 20
)

// A result collects sorted records. It implements extsort.Sink.
type result struct {
	records []format.Record
	writes  atomic.Int64
}

func (r *result) Prepare([]format.Record) {}

func (r *result) Reserve(records []format.Record) (func() error, error) {
	r.records = append(r.records, records...)
	return func() error { r.writes.Add(int64(len(records))); return nil }, nil
}

// newSorter returns a Sorter that is closed at the end of the test.
func newSorter(t testing.TB, cfg extsort.Config) *extsort.Sorter {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.Workers = max(cfg.Workers, 1)
	s, err := extsort.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// add adds records in chunks, by several goroutines.
func add(ctx context.Context, s *extsort.Sorter, records []format.Record) error {
	g, ctx := errgroup.WithContext(ctx)
	defer s.AbortAfter(ctx)()
	var next atomic.Int64
	for range 3 {
		g.Go(func() error {
			a := s.NewAdder()
			for {
				n := next.Add(1) - 1
				lo := int(n) * chunkRecords
				if lo >= len(records) {
					return nil
				}
				chunk := records[lo:min(lo+chunkRecords, len(records))]
				if err := a.Add(ctx, 0, n, chunk, func() (bool, error) { return true, nil }); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// sortAll sorts records.
func sortAll(t *testing.T, cfg extsort.Config, records []format.Record) (sorted []format.Record, s *extsort.Sorter) {
	t.Helper()
	s = newSorter(t, cfg)
	if err := add(t.Context(), s, records); err != nil {
		t.Fatal(err)
	}
	most, err := s.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out result
	if err := s.Emit(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if n := int64(len(out.records)); n > most || n != out.writes.Load() {
		t.Errorf("%d records reserved, %d written, at most %d announced", n, out.writes.Load(), most)
	}
	if n := duplicates(s); n != int64(len(records)-len(out.records)) {
		t.Errorf("%d duplicates, want %d", n, len(records)-len(out.records))
	}
	return out.records, s
}

// duplicates returns the number of removed records of all shards.
func duplicates(s *extsort.Sorter) (n int64) {
	counts, _ := s.Duplicates()
	for _, c := range counts {
		n += c
	}
	return n
}

// reference sorts records with package slices.
func reference(records []format.Record, keepFirst bool) []format.Record {
	records = slices.Clone(records)
	if !keepFirst {
		slices.Reverse(records)
	}
	slices.SortStableFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
	return slices.CompactFunc(records, func(a, b format.Record) bool { return a.Key() == b.Key() })
}

// record returns a record that differs from others with the same key.
func record(k format.Key, i int) format.Record {
	return format.MakeRecord(k, false, format.Price{Digits: uint64(i)}, 0, 0)
}

// prefixed returns keys with common prefixes of up to deep bits. Each bit of the
// prefix halves the rest, so every split leaves one child with half of the
// records.
func prefixed(rng *rand.Rand, deep int) format.Key {
	k := format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}
	shift := uint(rng.IntN(deep))
	if shift >= 64 {
		return format.Key{Lo: k.Hi >> (shift - 64)}
	}
	return format.Key{Hi: k.Hi >> shift, Lo: k.Lo>>shift | k.Hi<<(64-shift)}
}

func TestSortMatchesReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const n = 30_000
	for name, key := range map[string]func(i int) format.Key{
		"random":               func(int) format.Key { return format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()} },
		"ascending":            func(i int) format.Key { return format.Key{Lo: uint64(i)} },
		"descending":           func(i int) format.Key { return format.Key{Hi: uint64(n - i)} },
		"prefixes of 20 bits":  func(int) format.Key { return prefixed(rng, 20) },
		"prefixes of 127 bits": func(int) format.Key { return prefixed(rng, 127) },
		"half repeated":        func(int) format.Key { return format.Key{Hi: uint64(rng.IntN(n/2)) << 44} },
		"one key":              func(int) format.Key { return format.Key{Hi: 7, Lo: 7} },
		"one key among others": func(i int) format.Key { return format.Key{Hi: 7, Lo: uint64(i / 1000 * (i % 1000 / 999))} },
	} {
		t.Run(name, func(t *testing.T) {
			records := make([]format.Record, n)
			for i := range records {
				records[i] = record(key(i), i)
			}
			for _, keepFirst := range []bool{false, true} {
				want := reference(records, keepFirst)
				for _, workers := range []int{1, 4} {
					for where, sizes := range map[string]extsort.Sizes{"memory": extsort.SizesFor(memory, workers, 0), "spill": tiny} {
						got, s := sortAll(t, extsort.Config{Sizes: sizes, Workers: workers, KeepFirst: keepFirst}, records)
						if !slices.Equal(got, want) {
							t.Errorf("%s, %d workers, keep first %t: wrong records", where, workers, keepFirst)
						}
						if spilled := s.SpilledBytes() > 0; spilled != (where == "spill") {
							t.Errorf("%s, %d workers: %d bytes spilled", where, workers, s.SpilledBytes())
						}
					}
				}
			}
		})
	}
}

// Every bucket is too long for a leaf, and the arena has little more room than
// the records need. The partly filled pages of the workers must not exhaust it,
// for any number of workers.
func TestSplitByManyWorkersStaysInMemory(t *testing.T) {
	const n = 200_000
	rng := rand.New(rand.NewPCG(5, 6))
	records := make([]format.Record, n)
	for i := range records {
		records[i] = record(format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}, i)
	}
	want := reference(records, false)
	sizes := extsort.Sizes{Arena: n * 8 / 7 * 102 / 100 * format.RecordLen, Page: 1, Leaf: 128, Direct: 4 << 10}
	for _, workers := range []int{1, 2, 16, 64} {
		got, s := sortAll(t, extsort.Config{Sizes: sizes, Workers: workers}, records)
		if s.SpilledBytes() != 0 {
			t.Errorf("%d workers: %d bytes spilled", workers, s.SpilledBytes())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d workers: wrong records", workers)
		}
	}
}

// sortLanes divides records into the lanes of cfg, one after the other, adds the
// chunks of the lanes in a random order, and returns the result.
func sortLanes(t *testing.T, cfg extsort.Config, records []format.Record, rng *rand.Rand) (sorted []format.Record, s *extsort.Sorter) {
	t.Helper()
	s = newSorter(t, cfg)
	lanes := cfg.Lanes
	var next [extsort.MaxLanes]int
	adder := s.NewAdder()
	for left := len(records); left > 0; {
		lane := rng.IntN(lanes)
		part := records[len(records)*lane/lanes : len(records)*(lane+1)/lanes]
		lo := next[lane] * chunkRecords
		if lo >= len(part) {
			continue
		}
		chunk := slices.Clone(part[lo:min(lo+chunkRecords, len(part))])
		if err := adder.Add(t.Context(), lane, int64(next[lane]), chunk, func() (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
		next[lane]++
		left -= len(chunk)
	}
	if _, err := s.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	var out result
	if err := s.Emit(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out.records, s
}

// Lanes are added in any order, and the result is that of one lane after the other.
func TestLanesKeepTheirOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, lanes := range []int{2, 3, 16, extsort.MaxLanes} {
		const n = 30_000
		records := make([]format.Record, n)
		for i := range records {
			records[i] = format.MakeRecord(format.Key{Hi: uint64(rng.IntN(n/5)) << 45}, false, format.Price{Digits: uint64(i), Negative: i%2 == 0}, 0, 0)
		}
		for _, keepFirst := range []bool{false, true} {
			want := reference(records, keepFirst)
			for where, sizes := range map[string]extsort.Sizes{"memory": extsort.SizesFor(memory, 2, 0), "spill": tiny} {
				sorted, s := sortLanes(t, extsort.Config{Sizes: sizes, Workers: 2, Lanes: lanes, KeepFirst: keepFirst}, records, rng)
				if !slices.Equal(sorted, want) {
					t.Errorf("%s, %d lanes, keep first %t: wrong records", where, lanes, keepFirst)
				}
				if got := duplicates(s); got != int64(n-len(want)) {
					t.Errorf("%s, %d lanes: %d duplicates, want %d", where, lanes, got, n-len(want))
				}
			}
		}
	}
}

// After the section has failed in one lane, no chunk of another one enters it.
func TestErrorEndsAllLanes(t *testing.T) {
	failed := errors.New("failed")
	s := newSorter(t, extsort.Config{Sizes: tiny, Lanes: 2})
	a := s.NewAdder()
	if err := a.Add(t.Context(), 1, 0, nil, func() (bool, error) { return false, failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	called := false
	err := a.Add(t.Context(), 0, 0, nil, func() (bool, error) { called = true; return true, nil })
	if !errors.Is(err, failed) || called {
		t.Errorf("error %v, called %t", err, called)
	}
}

func TestDuplicatesReturnsLowestKeys(t *testing.T) {
	var records []format.Record
	for i := range 20_000 {
		records = append(records, record(format.Key{Hi: uint64(20_000-i) / 2 << 40}, i))
	}
	for where, sizes := range map[string]extsort.Sizes{"memory": extsort.SizesFor(memory, 1, 0), "spill": tiny} {
		_, s := sortAll(t, extsort.Config{Sizes: sizes, KeepFirst: true, MaxRepeated: 3}, records)
		_, keys := s.Duplicates()
		if want := []format.Key{{Hi: 1 << 40}, {Hi: 2 << 40}, {Hi: 3 << 40}}; !slices.Equal(keys, want) {
			t.Errorf("%s: repeated keys %v, want %v", where, keys, want)
		}
	}
}

func TestAddCallsOrderedInOrder(t *testing.T) {
	s := newSorter(t, extsort.Config{Sizes: tiny})
	const chunks = 500
	var order []int64
	var wg sync.WaitGroup
	for n := range int64(chunks) {
		wg.Go(func() {
			records := []format.Record{record(format.Key{Lo: uint64(n)}, 0)}
			err := s.NewAdder().Add(t.Context(), 0, n, records, func() (bool, error) {
				order = append(order, n)
				return n%2 == 0, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(order) != chunks || !slices.IsSorted(order) {
		t.Errorf("order of the chunks: %v", order)
	}
	if n, err := s.Finish(t.Context()); n != chunks/2 || err != nil {
		t.Errorf("Finish = %d, %v; want the %d records that were kept", n, err, chunks/2)
	}
}

func TestAddReturnsErrors(t *testing.T) {
	records := make([]format.Record, 100_000)
	for i := range records {
		records[i] = record(format.Key{Hi: uint64(i) << 40}, i)
	}
	failed := errors.New("failed")

	spills := 0
	s := newSorter(t, extsort.Config{Sizes: tiny, Workers: 2, BeforeSpill: func(bytes, total int64) error {
		if spills++; bytes <= 0 || total < bytes/format.RecordLen*int64(spills) {
			t.Errorf("spill %d: %d bytes, %d records in total", spills, bytes, total)
		}
		if spills == 3 {
			return failed
		}
		return nil
	}})
	if err := add(t.Context(), s, records); !errors.Is(err, failed) || spills != 3 {
		t.Errorf("BeforeSpill fails: error %v after %d spills", err, spills)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(failed)
	s = newSorter(t, extsort.Config{Sizes: tiny})
	if err := add(ctx, s, records); !errors.Is(err, failed) {
		t.Errorf("canceled context: error %v", err)
	}

	s = newSorter(t, extsort.Config{Sizes: tiny, Dir: "/no/such/directory"})
	if err := add(t.Context(), s, records); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: error %v", err)
	}
}

// A failing is a Sink whose write fails after some batches.
type failing struct {
	result
	err error
}

func (f *failing) Reserve(records []format.Record) (func() error, error) {
	write, err := f.result.Reserve(records)
	if len(f.records) > 5000 {
		return func() error { return f.err }, nil
	}
	return write, err
}

func TestEmitReturnsErrorOfSink(t *testing.T) {
	records := make([]format.Record, 20_000)
	for i := range records {
		records[i] = record(format.Key{Hi: uint64(i) << 40}, i)
	}
	for where, sizes := range map[string]extsort.Sizes{"memory": extsort.SizesFor(memory, 2, 0), "spill": tiny} {
		sizes.Leaf = 512
		s := newSorter(t, extsort.Config{Sizes: sizes, Workers: 2})
		if err := add(t.Context(), s, records); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		if err := s.Emit(t.Context(), &failing{err: full}); !errors.Is(err, full) {
			t.Errorf("%s: error %v, want %v", where, err, full)
		}
	}
}

// BenchmarkAdd adds chunks to a large arena, on one processor.
func BenchmarkAdd(b *testing.B) {
	const rows = 3300 // of a chunk of 256 KiB
	rng := rand.New(rand.NewPCG(1, 2))
	var chunks [16][]format.Record
	for i := range chunks {
		for j := range rows {
			chunks[i] = append(chunks[i], record(format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}, j))
		}
	}
	keep := func() (bool, error) { return true, nil }
	const chunksAtOnce = 10_000
	var s *extsort.Sorter
	var a *extsort.Adder
	n := int64(chunksAtOnce)
	for b.Loop() {
		if n == chunksAtOnce {
			b.StopTimer()
			s = newSorter(b, extsort.Config{Sizes: extsort.SizesFor(2<<30, 1, 0)})
			a, n = s.NewAdder(), 0
			b.StartTimer()
		}
		if err := a.Add(b.Context(), 0, n, chunks[n%int64(len(chunks))], keep); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
	b.ReportMetric(0, "ns/op")
}

func ExampleSorter() {
	dir, err := os.MkdirTemp("", "extsort")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	s, err := extsort.New(extsort.Config{Sizes: extsort.SizesFor(64<<20, 1, 0), Workers: 1, Dir: dir})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	ctx := context.Background()
	keep := func() (bool, error) { return true, nil }
	records := []format.Record{record(format.Key{Hi: 3}, 0), record(format.Key{Hi: 1}, 0), record(format.Key{Hi: 2}, 0)}
	if err := s.NewAdder().Add(ctx, 0, 0, records, keep); err != nil {
		panic(err)
	}
	if _, err := s.Finish(ctx); err != nil {
		panic(err)
	}
	var out result
	if err := s.Emit(ctx, &out); err != nil {
		panic(err)
	}
	for _, r := range out.records {
		fmt.Println(r.Key().Hi)
	}
	// Output:
	// 1
	// 2
	// 3
}

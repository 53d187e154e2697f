package generation_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

// shardings are the shardings that the tests of a Set draw.
var shardings = []format.Sharding{
	format.Unsharded,
	{Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 32},
	{Rule: format.ShardFirst, Shards: 16}, {Rule: format.ShardFirst, Shards: 32},
}

// drawRecords draws up to n records with different ids, sorted. The ids are spread
// over all shards, or only over few by the first or the last bits.
func drawRecords(t *rapid.T, n int) []format.Record {
	count := rapid.IntRange(0, n).Draw(t, "records")
	mask := rapid.SampledFrom([]format.Key{{Hi: 1<<64 - 1, Lo: 1<<64 - 1}, {Lo: 1<<64 - 1}, {Hi: 1<<64 - 1}, {Lo: 1<<12 - 1}, {Hi: 3 << 62, Lo: 1<<8 - 1}}).Draw(t, "mask")
	seed := rapid.Uint64().Draw(t, "seed")
	records := map[format.Key]format.Record{}
	add := func(k format.Key) {
		records[k] = format.MakeRecord(k, false, format.Price{Digits: seed >> 32}, seed>>30, 0)
	}
	for range count {
		var k format.Key
		for _, half := range []*uint64{&k.Hi, &k.Lo} {
			seed = seed*6364136223846793005 + 1442695040888963407
			*half = seed ^ seed>>32
		}
		add(format.Key{Hi: k.Hi & mask.Hi, Lo: k.Lo & mask.Lo})
	}
	if rapid.Bool().Draw(t, "ends") {
		add(format.Key{})
		add(format.Key{Hi: 1<<64 - 1, Lo: 1<<64 - 1})
	}
	sorted := make([]format.Record, 0, len(records))
	for _, r := range records {
		sorted = append(sorted, r)
	}
	slices.SortFunc(sorted, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
	return sorted
}

// openSet publishes records in a new directory and opens the shards of digits.
func openSet(t gentest.T, dir string, s format.Sharding, digits generation.Digits, records []format.Record) *generation.Set {
	t.Helper()
	gentest.PublishSharded(t, dir, 7, s, records)
	list, err := generation.List(dir)
	gentest.Must(t, err)
	set, err := list[0].OpenSet(digits)
	gentest.Must(t, err)
	return set
}

// scan returns the records of s.
func scan(t gentest.T, s *generation.Set) (records []format.Record) {
	t.Helper()
	gentest.Must(t, s.Scan(context.Background(), func(some []format.Record) error {
		records = append(records, some...)
		return nil
	}))
	return records
}

// Scan returns the records of any sharding, and of some of its shards, in the order
// of their ids. Get finds them, and no others.
func TestSetReturnsSortedRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "scan")
		gentest.Must(t, err)
		defer os.RemoveAll(dir)
		records := drawRecords(t, 3000)
		sharding := rapid.SampledFrom(shardings).Draw(t, "sharding")
		digits := generation.AllDigits
		if rapid.Bool().Draw(t, "some digits") {
			digits = generation.Digits(rapid.Uint16Min(1).Draw(t, "digits"))
		}
		s := openSet(t, dir, sharding, digits, records)
		defer s.Close()
		owns := func(r format.Record) bool { return digits.Owns(sharding, sharding.ShardOf(r.Key())) }
		owned := slices.DeleteFunc(slices.Clone(records), func(r format.Record) bool { return !owns(r) })
		if got := scan(t, s); !slices.Equal(got, owned) {
			t.Fatalf("%d records, want %d", len(got), len(owned))
		}
		for _, r := range records {
			if s.Owns(r.Key()) != owns(r) {
				t.Fatalf("Owns(%s) = %t", r.Key(), s.Owns(r.Key()))
			}
			if !owns(r) {
				continue
			}
			if got, found, err := s.Get(r.Key()); err != nil || !found || got != r {
				t.Fatalf("Get(%s) = %x, %t, %v", r.Key(), got, found, err)
			}
			other := format.Key{Hi: r.Key().Hi ^ 1<<20, Lo: r.Key().Lo} // in the same shard
			_, there := slices.BinarySearchFunc(records, other, func(r format.Record, k format.Key) int { return r.Key().Compare(k) })
			if _, found, err := s.Get(other); err != nil || found != there {
				t.Fatalf("Get(%s): found %t, %v", other, found, err)
			}
		}
		gentest.Must(t, s.Verify(t.Context(), 2, nil))
	})
}

// A merge reads files that are longer than its buffers. Its memory does not depend on
// their number and their lengths.
func TestMergeNeedsLittleMemory(t *testing.T) {
	const limit = 1 << 20
	defer generation.SetMergeLen(limit)()
	for _, c := range []struct{ shards, blocks int }{{16, 50}, {64, 13}, {256, 3}} { // in memory: 16, 4 and 1
		records := gentest.Sequence(c.shards * c.blocks * format.RecordsPerBlock)
		s := openSet(t, t.TempDir(), format.Sharding{Rule: format.ShardLast, Shards: uint32(c.shards)}, generation.AllDigits, records)
		defer s.Close()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n := 0
		gentest.Must(t, s.Scan(t.Context(), func(some []format.Record) error {
			if !slices.Equal(some, records[n:][:len(some)]) {
				t.Fatalf("records from %d differ", n)
			}
			n += len(some)
			return nil
		}))
		runtime.ReadMemStats(&after)
		if allocated := after.TotalAlloc - before.TotalAlloc; n != len(records) || allocated > limit+limit/2 {
			t.Errorf("%d records, want %d; %d bytes allocated, want at most %d", n, len(records), allocated, limit+limit/2)
		}
	}
}

// openUneven opens 16 shards. Shard 3 has 300 blocks, which are two segments, and the
// others have one.
func openUneven(t gentest.T, dir string, rule format.ShardRule) *generation.Set {
	var records []format.Record
	for digit := range uint64(16) {
		n := 1
		if digit == 3 {
			n = 300 * format.RecordsPerBlock
		}
		for i := range uint64(n) {
			records = append(records, format.MakeRecord(format.Key{Hi: digit<<60 | i, Lo: digit}, false, format.Price{}, 0, 0))
		}
	}
	return openSet(t, dir, format.Sharding{Rule: rule, Shards: 16}, generation.AllDigits, records)
}

// An error of Scan names a damaged file. Verify names all of them, with the first
// defect of each.
func TestSetNamesDamagedFiles(t *testing.T) {
	for _, rule := range []format.ShardRule{format.ShardLast, format.ShardFirst} {
		s := openUneven(t, t.TempDir(), rule)
		defer s.Close()
		records := scan(t, s)
		if !slices.IsSortedFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) }) || len(records) != 300*format.RecordsPerBlock+15 {
			t.Errorf("rule %s: %d records", rule, len(records))
		}
		var want []string
		for _, bad := range []struct {
			shard  int
			blocks []int64
			defect string
		}{{3, []int64{270, 271, 290}, "block 270: wrong checksum: at offset 1110016: "}, {9, []int64{0}, "block 0: wrong checksum: at offset 4096: "}} {
			path := s.Files[bad.shard].Name()
			want = append(want, path+": "+bad.defect)
			for _, block := range bad.blocks {
				gentest.Flip(t, path, format.BlockOff(block)+10)
			}
		}
		err := s.Scan(t.Context(), func([]format.Record) error { return nil })
		if !errors.Is(err, format.ErrChecksum) || !strings.HasPrefix(err.Error(), want[0]) && !strings.HasPrefix(err.Error(), want[1]) {
			t.Errorf("Scan: %v, want one of %q", err, want)
		}
		for _, workers := range []int{1, 5} {
			err := s.Verify(t.Context(), workers, nil)
			if !errors.Is(err, format.ErrChecksum) {
				t.Fatalf("Verify: %v", err)
			}
			lines := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(lines, want, strings.HasPrefix) {
				t.Errorf("Verify: %q, want %q", lines, want)
			}
		}
	}
}

// Verify reports its progress up to the end, and stops if its context ends.
func TestSetVerifyProgress(t *testing.T) {
	s := openUneven(t, t.TempDir(), format.ShardLast)
	defer s.Close()
	for _, workers := range []int{1, 4} {
		var seen []int64
		var size int64
		gentest.Must(t, s.Verify(t.Context(), workers, func(done, all int64) { seen, size = append(seen, done), all }))
		if !slices.IsSorted(seen) || len(seen) != 17 || seen[16] != size || size != 315*format.BlockLen {
			t.Errorf("progress %v of %d", seen, size)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Verify(ctx, 2, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify: %v, want %v", err, context.Canceled)
	}
}

// An error of yield ends Scan, and so does the end of the context.
func TestScanStops(t *testing.T) {
	stop := errors.New("stop")
	for _, sharding := range shardings {
		s := openSet(t, t.TempDir(), sharding, generation.AllDigits, gentest.Scattered(10_000))
		defer s.Close()
		calls := 0
		if err := s.Scan(t.Context(), func([]format.Record) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
			t.Errorf("%v: Scan: %v after %d calls, want the error of yield", sharding, err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Scan(ctx, func([]format.Record) error { t.Error("yield is called"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: Scan: %v, want %v", sharding, err, context.Canceled)
		}
	}
}

package extsort_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"promostore/builder/extsort"
	"promostore/format"
)

// shardings are the limits of both rules, and one between them.
var shardings = []format.Sharding{
	{Rule: format.ShardLast, Shards: format.MinShards},
	{Rule: format.ShardLast, Shards: 32},
	{Rule: format.ShardLast, Shards: format.MaxShards},
	{Rule: format.ShardFirst, Shards: format.MinShards},
	{Rule: format.ShardFirst, Shards: format.MaxShards},
}

// byShard sorts records by shard and key.
func byShard(s format.Sharding) func(a, b format.Record) int {
	return func(a, b format.Record) int {
		return cmp.Or(cmp.Compare(s.ShardOf(a.Key()), s.ShardOf(b.Key())), a.Key().Compare(b.Key()))
	}
}

func TestShardsFollowEachOther(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const n = 20_000
	for name, key := range map[string]func(i int) format.Key{
		"random":               func(int) format.Key { return format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()} },
		"ascending":            func(i int) format.Key { return format.Key{Lo: uint64(i)} },
		"in time order":        func(i int) format.Key { return format.Key{Hi: 1<<60 | uint64(i)<<16, Lo: rng.Uint64()} },
		"of one shard":         func(int) format.Key { return format.Key{Hi: rng.Uint64() >> 12, Lo: rng.Uint64() << 12} },
		"prefixes of 127 bits": func(int) format.Key { return prefixed(rng, 127) },
		"half repeated":        func(int) format.Key { return format.Key{Hi: uint64(rng.IntN(100)) << 56, Lo: uint64(rng.IntN(100))} },
		"one key":              func(int) format.Key { return format.Key{Hi: 7, Lo: 7} },
	} {
		t.Run(name, func(t *testing.T) {
			records := make([]format.Record, n)
			for i := range records {
				records[i] = record(key(i), i)
			}
			for _, sharding := range shardings {
				for where, sizes := range map[string]extsort.Sizes{"memory": extsort.SizesFor(memory, 2, 0), "spill": tiny} {
					for _, lanes := range []int{1, 3} {
						cfg := extsort.Config{Sizes: sizes, Workers: 2, Lanes: lanes, KeepFirst: lanes == 3, Sharding: sharding, MaxRepeated: 3}
						want := reference(records, cfg.KeepFirst)
						slices.SortFunc(want, byShard(sharding))
						sorted, s := sortLanes(t, cfg, records, rng)
						if !slices.Equal(sorted, want) {
							t.Errorf("%s, %v, %d lanes: wrong records", where, sharding, lanes)
						}
						counts, keys := s.Duplicates()
						if wantCounts, wantKeys := repeated(records, sharding); !slices.Equal(counts, wantCounts) || !slices.Equal(keys, wantKeys[:min(3, len(wantKeys))]) {
							t.Errorf("%s, %v, %d lanes: duplicates %v of %v, want %v of %v", where, sharding, lanes, counts, keys, wantCounts, wantKeys)
						}
					}
				}
			}
		})
	}
}

// repeated returns the number of duplicates in each shard, and the repeated keys in
// order.
func repeated(records []format.Record, s format.Sharding) (counts []int64, keys []format.Key) {
	counts = make([]int64, s.Shards)
	seen := map[format.Key]int{}
	for i := range records {
		k := records[i].Key()
		if seen[k]++; seen[k] > 1 {
			counts[s.ShardOf(k)]++
		}
		if seen[k] == 2 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, format.Key.Compare)
	return counts, keys
}

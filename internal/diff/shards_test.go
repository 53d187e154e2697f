package diff_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/gentest"
)

// A comparison of two generations does not depend on their numbers of shards and
// their rules.
func TestCompareShards(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var want []string
	var counts diff.Counts
	var from, to []format.Record
	for _, r := range gentest.Scattered(20_000) {
		changed := format.MakeRecord(r.Key(), false, format.Price{Digits: 2}, 0, 0)
		switch random.IntN(10) {
		case 0:
			from = append(from, r)
			want = append(want, fmt.Sprint("-", r.Key()))
			counts.Removed++
		case 1:
			to = append(to, r)
			want = append(want, fmt.Sprint("+", r.Key()))
			counts.Added++
		case 2:
			from, to = append(from, r), append(to, changed)
			want = append(want, fmt.Sprint("!", r.Key()))
			counts.Changed++
		default:
			from, to = append(from, r), append(to, r)
			counts.Unchanged++
		}
	}
	last, first := format.Sharding{Rule: format.ShardLast, Shards: 16}, format.Sharding{Rule: format.ShardFirst, Shards: format.MaxShards}
	shardingsFrom, shardingsTo := []format.Sharding{format.Unsharded, last}, []format.Sharding{last, first}
	open := func(records []format.Record, shardings []format.Sharding) (sources []diff.Source) {
		for _, sharding := range shardings {
			dir := t.TempDir()
			gentest.PublishSharded(t, dir, 1, sharding, records)
			g, err := generation.Find(dir, 1, generation.AllDigits)
			gentest.Must(t, err)
			s, err := g.OpenIndex()
			gentest.Must(t, err)
			t.Cleanup(func() { s.Close() })
			sources = append(sources, diff.Source{Styles: s.Styles(), Scan: s.Scan})
		}
		return sources
	}
	sourcesTo := open(to, shardingsTo)
	for i, a := range open(from, shardingsFrom) {
		for j, b := range sourcesTo {
			var got []string
			c := diff.Comparer{
				Added:   func(r *format.Record) { got = append(got, fmt.Sprint("+", r.Key())) },
				Removed: func(r *format.Record) { got = append(got, fmt.Sprint("-", r.Key())) },
				Changed: func(r, _ *format.Record) { got = append(got, fmt.Sprint("!", r.Key())) },
			}
			if gotCounts, err := c.Compare(t.Context(), a, b); err != nil || gotCounts != counts || !slices.Equal(got, want) {
				t.Errorf("%v and %v: %+v, %v; want %+v", shardingsFrom[i], shardingsTo[j], gotCounts, err, counts)
			}
		}
	}
}

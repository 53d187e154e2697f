package generation_test

import (
	"fmt"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
)

// BenchmarkScan reads the same records from different numbers of shards, and with
// format.Index.Scan from one.
func BenchmarkScan(b *testing.B) {
	records := gentest.Scattered(1 << 21)
	none := func([]format.Record) error { return nil }
	for _, sharding := range []format.Sharding{
		format.Unsharded, {Rule: format.ShardFirst, Shards: 16},
		{Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 256}, {Rule: format.ShardLast, Shards: 4096},
	} {
		s := openSet(b, b.TempDir(), sharding, generation.AllDigits, records)
		defer s.Close()
		run := func(name string, scan func() error) {
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					gentest.Must(b, scan())
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
			})
		}
		if sharding == format.Unsharded {
			run("index", func() error { return s.Files[0].Index.Scan(s.Files[0], none) })
		}
		run(fmt.Sprintf("%s-%d", sharding.Rule, sharding.Shards), func() error { return s.Scan(b.Context(), none) })
	}
}

package synth_test

import (
	"io"
	"testing"

	"promostore/internal/synth"
)

func BenchmarkWriteTo(b *testing.B) {
	for kind := synth.KeysV4; kind <= synth.KeysSamePrefix; kind++ {
		b.Run(kind.String(), func(b *testing.B) {
			t := synth.DataSet{Keys: synth.Keys{Kind: kind, Seed: 1}, Rows: int64(b.N), Duplicates: int64(b.N) / 100}
			n, err := t.WriteTo(io.Discard)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(n / int64(b.N))
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}

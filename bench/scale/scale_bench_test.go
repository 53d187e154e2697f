package scale

import (
	"os"
	"strconv"
	"testing"

	"promostore/bench/contest"
)

// BenchmarkScale reports the figures of a table of PROMO_BENCH_ROWS rows and of
// those that are smaller, each as name/rows-unit.
func BenchmarkScale(b *testing.B) {
	rows := int64(1_000_000)
	if text := os.Getenv("PROMO_BENCH_ROWS"); text != "" {
		var err error
		if rows, err = strconv.ParseInt(text, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	env, err := contest.NewEnv(b.Context(), b.TempDir(), rows, b.Output())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := env.Close(); err != nil {
			b.Error(err)
		}
	}()
	for b.Loop() {
		err := Run(b.Context(), env, func(r contest.Result) { b.ReportMetric(r.Ours, r.Name+"-"+r.Unit) })
		if err != nil {
			b.Fatal(err)
		}
	}
}

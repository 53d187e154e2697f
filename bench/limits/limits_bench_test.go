package limits

import (
	"os"
	"strconv"
	"testing"

	"promostore/bench/contest"
)

// BenchmarkLimits is for a table of PROMO_BENCH_ROWS rows.
func BenchmarkLimits(b *testing.B) {
	rows := int64(2_000_000)
	if text := os.Getenv("PROMO_BENCH_ROWS"); text != "" {
		var err error
		if rows, err = strconv.ParseInt(text, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	list, cleanup, err := Contests(b.Context(), newEnv(b, rows))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := cleanup(); err != nil {
			b.Error(err)
		}
	}()
	for i := range list {
		contest.Bench(b, &list[i])
	}
}

package serving_test

import (
	"os"
	"strconv"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/serving"
)

// BenchmarkGet is one turn of each server an iteration; the rows are those of
// PROMO_BENCH_ROWS.
func BenchmarkGet(b *testing.B) {
	rows := int64(100_000)
	if text := os.Getenv("PROMO_BENCH_ROWS"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		rows = n
	}
	list, cleanup, err := serving.Contests(b.Context(), newEnv(b, rows))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cleanup(); err != nil {
			b.Error(err)
		}
	})
	for i := range list {
		contest.Bench(b, &list[i])
	}
}

func newEnv(tb testing.TB, rows int64) *contest.Env {
	tb.Helper()
	env, err := contest.NewEnv(tb.Context(), tb.TempDir(), rows, tb.Output())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := env.Close(); err != nil {
			tb.Error(err)
		}
	})
	return env
}

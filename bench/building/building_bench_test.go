package building_test

import (
	"os"
	"strconv"
	"testing"

	"promostore/bench/building"
	"promostore/bench/contest"
)

// BenchmarkBuild is every contest with tables of PROMO_BENCH_ROWS rows.
func BenchmarkBuild(b *testing.B) {
	rows := int64(200_000)
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
	err = building.Each(b.Context(), env, func(c *contest.Contest) error {
		contest.Bench(b, c)
		return nil
	}, func(r contest.Result) { b.Logf("%s: %s", r.Name, r.Note) })
	if err != nil {
		b.Fatal(err)
	}
}

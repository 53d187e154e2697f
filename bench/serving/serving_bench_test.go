package serving_test

import (
	"context"
	"fmt"
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

// programs is an Env that all tests share, since building takes long.
var programs *contest.Env

func TestMain(m *testing.M) {
	var err error
	if programs, err = contest.NewEnv(context.Background(), "", 0, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := programs.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func newEnv(tb testing.TB, rows int64) *contest.Env {
	tb.Helper()
	env := *programs
	env.Dir, env.Rows, env.Log = tb.TempDir(), rows, tb.Output()
	return &env
}

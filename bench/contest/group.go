package contest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// A Group is contests that share what they need.
type Group struct {
	Contests []Contest
	Results  []Result     // what is known without a contest, or cannot be
	Close    func() error // gives back what they need; may be nil
}

// Prepare sets a group up. Groups are prepared one after the other, so that
// what one needs is gone before the next.
type Prepare func(context.Context, *Env) (*Group, error)

// Each prepares the groups, calls do with their contests, and report with what
// is known without.
func Each(ctx context.Context, env *Env, groups []Prepare, do func(*Contest) error, report func(Result)) error {
	for _, prepare := range groups {
		if err := each(ctx, env, prepare, do, report); err != nil {
			return err
		}
	}
	return nil
}

func each(ctx context.Context, env *Env, prepare Prepare, do func(*Contest) error, report func(Result)) (err error) {
	g, err := prepare(ctx, env)
	if err != nil {
		return err
	}
	if g.Close != nil {
		defer func() { err = errors.Join(err, g.Close()) }()
	}
	for _, r := range g.Results {
		report(r)
	}
	for i := range g.Contests {
		if err := do(&g.Contests[i]); err != nil {
			return err
		}
	}
	return nil
}

// RunGroups holds all contests of the groups.
func RunGroups(ctx context.Context, env *Env, groups []Prepare, report func(Result)) error {
	return Each(ctx, env, groups, func(c *Contest) error {
		r, err := c.Run(ctx)
		if err == nil {
			report(r)
		}
		return err
	}, report)
}

// BenchGroups runs all contests of the groups as benchmarks, with tables of as
// many rows as the environment variable PROMO_BENCH_ROWS says, or else rows.
func BenchGroups(b *testing.B, rows int64, groups []Prepare) {
	if text := os.Getenv("PROMO_BENCH_ROWS"); text != "" {
		var err error
		if rows, err = strconv.ParseInt(text, 10, 64); err != nil {
			b.Fatal(err)
		}
	}
	env, err := NewEnv(b.Context(), b.TempDir(), rows, b.Output())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := env.Close(); err != nil {
			b.Error(err)
		}
	}()
	err = Each(b.Context(), env, groups, func(c *Contest) error {
		Bench(b, c)
		return nil
	}, func(r Result) { b.Logf("%s: %v %s %s", r.Name, r.Ours, r.Unit, r.Note) })
	if err != nil {
		b.Fatal(err)
	}
}

// Count is a number of rows for people: 20 M.
func Count(n int64) string {
	if n >= 1_000_000 && n%100_000 == 0 {
		return fmt.Sprintf("%g M", float64(n)/1e6)
	}
	return strconv.FormatInt(n, 10)
}

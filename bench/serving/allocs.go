package serving

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
)

// runAllocs counts what the server allocates for a GET, by the counter of its
// runtime: by how much more it goes up under a longer load than under a shorter
// one, so that what connections and the counter itself need is in both.
func runAllocs(ctx context.Context, env *contest.Env, program load.Program, report func(contest.Result)) (err error) {
	env.Logf("http: allocations")
	d := &driver{program, env.Rows}
	s, err := oursOver(ctx, env, d.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if _, err := d.load(ctx, s, load.Get, turnLen, 0); err != nil { // to get warm
		return err
	}
	var allocs, requests [2]float64
	for i, length := range [...]int{1, 5} {
		before, err := s.metric(ctx, mallocs)
		if err != nil {
			return err
		}
		r, err := d.load(ctx, s, load.Get, turnLen*time.Duration(length), 0)
		if err != nil {
			return err
		}
		after, err := s.metric(ctx, mallocs)
		if err != nil {
			return err
		}
		allocs[i], requests[i] = after-before, float64(r.Requests)
	}
	a := (allocs[1] - allocs[0]) / (requests[1] - requests[0])
	r := contest.Figure(area, "allocs", "allocations of the server for a GET", "allocs/request", math.Abs(math.Round(a*100)/100), contest.AtMost(0),
		fmt.Sprintf("%s over %.0f requests: %.5f, to the hundredth", mallocs, requests[1]-requests[0], a))
	r.Rows = d.rows
	report(r)
	return nil
}

const mallocs = "go_memstats_mallocs_total"

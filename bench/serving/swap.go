package serving

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/format/generation"
	"promostore/internal/sysmem"
)

const (
	swapRows   = 10_000_000 // at most
	swapRounds = 9
	swapEvery  = time.Second

	swapsPerTurn = 2
	swapLen      = swapsPerTurn * swapEvery // of a turn

	generations = 1 + swapRounds*swapsPerTurn
)

// swapTable is the rows of the generations. All of those together stay in the
// page cache: that a disk is slow is not what is measured.
func swapTable(rows int64) int64 {
	const recordLen = 33 // with its share of fences and checksums
	return max(1, min(rows, swapRows, sysmem.Available()/2/(generations*recordLen)))
}

// stagedAt is the first of the generations that are prepared. What they are
// called does not matter: no other is made in their directory.
var stagedAt = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// swaps is what becomes of requests while a new generation goes live every
// second, against the same load without.
type swaps struct {
	server *server
	dir    string
	staged []string // files of generations that are still to come, in order
}

// newSwaps builds as many generations of the same table as there will be
// swaps, so that building them takes nothing from the requests.
func newSwaps(ctx context.Context, env *contest.Env, rows int64) (*swaps, error) {
	table, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	stage := filepath.Join(env.Dir, "swap-stage")
	s := &swaps{dir: filepath.Join(env.Dir, "swap")}
	for _, dir := range []string{s.dir, stage} {
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return nil, err
		}
	}
	for i := range generations {
		id := generation.IDOf(stagedAt.Add(time.Duration(i) * time.Second))
		build := exec.CommandContext(ctx, filepath.Join(env.Bin, "promobuild"), "build", "--quiet",
			"--data", stage, "--generation", id.String(), table)
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build of a generation: %w: %s", err, out)
		}
		s.staged = append(s.staged, generation.Name{ID: id, Shards: 1}.String())
	}
	for i, name := range s.staged {
		s.staged[i] = filepath.Join(stage, name)
	}
	if err := s.publish(); err != nil {
		return nil, err
	}
	s.server, err = startOurs(ctx, env, "promoserve-swap", s.dir)
	return s, err
}

// publish gives the server the next generation.
func (s *swaps) publish() error {
	from := s.staged[0]
	s.staged = s.staged[1:]
	return os.Rename(from, filepath.Join(s.dir, filepath.Base(from)))
}

// live is how many generations went live so far.
func (s *swaps) live(ctx context.Context) (float64, error) {
	return s.server.metric(ctx, `promoserve_generation_swaps_total{result="live"}`)
}

// turn is one turn of load, with swaps or without, and how many there were.
func (s *swaps) turn(ctx context.Context, d *driver, swapping bool) (r load.Result, n float64, err error) {
	before, err := s.live(ctx)
	if err != nil {
		return r, 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	swapped := make(chan error, 1)
	if !swapping {
		swapped <- nil
	} else {
		go func() { swapped <- s.swapAll(ctx) }()
	}
	r, err = d.program.Run(ctx, load.Options{
		Addr: s.server.addr, Kind: load.Get, Rows: d.rows, Connections: connections, Threads: threads,
		Duration: swapLen, Misses: misses,
	})
	if err != nil {
		cancel()
	}
	if err := errors.Join(err, <-swapped); err != nil {
		return r, 0, err
	}
	after, err := s.live(ctx)
	return r, after - before, err
}

// swapAll publishes the generations of a turn, one every second, the first
// after half a one, and tells the server to look.
func (s *swaps) swapAll(ctx context.Context) error {
	timer := time.NewTimer(swapEvery / 2)
	defer timer.Stop()
	for range swapsPerTurn {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		timer.Reset(swapEvery)
		if err := s.publish(); err != nil {
			return err
		}
		if err := syscall.Kill(s.server.processes[0].pid, syscall.SIGHUP); err != nil {
			return err
		}
	}
	return nil
}

// run lets load with and without swaps take turns, and reports what they did
// to the latency and to requests.
func (s *swaps) run(ctx context.Context, d *driver, report func(contest.Result)) error {
	var with, without, ratios []float64
	var failed, swapped, took float64
	var failure string
	for range swapRounds {
		a, n, err := s.turn(ctx, d, true)
		if err != nil {
			return err
		}
		b, _, err := s.turn(ctx, d, false)
		if err = errors.Join(err, b.Err()); err != nil {
			return err
		}
		with, without, ratios = append(with, a.P99), append(without, b.P99), append(ratios, a.P99/b.P99)
		failed += float64(a.Failed)
		swapped, took = swapped+n, took+a.Seconds
		if failure == "" {
			failure = a.Failure
		}
	}
	note := fmt.Sprintf("%.0f generations of %d records went live in %.1f s of full load", swapped, d.rows, took)
	r := contest.Ratio(area, "swap/p99", "p99 of GET with a new generation every second, against without", "µs",
		contest.Median(with), "no new generations", contest.Median(without), contest.AtMost(1.5), note)
	r.Rows = d.rows
	r.Turns(ratios)
	report(r)
	report(contest.Figure(area, "swap/failed", "requests that failed with a new generation every second", "requests",
		failed, contest.AtMost(0), note+prefixed("; ", failure)))
	report(contest.Figure(area, "swap/rate", "generations that went live a second", "swaps/s", swapped/took, contest.AtLeast(0.9), ""))
	return nil
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// stop ends the server and removes its generations.
func (s *swaps) stop() error { return errors.Join(s.server.stop(), os.RemoveAll(s.dir)) }

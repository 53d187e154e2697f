package limits

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/machine"
)

const (
	slowReads = 1000 // a second, of the disk
	hotRows   = 1000 // whose blocks are in memory
	hotRate   = 5000 // requests a second for them
	hotConns  = 16
	hotTime   = 3 * time.Second
	hotRounds = 3
)

// runSlow measures how long requests take whose block is in memory, on a disk
// that is slow and in too little memory, while clients wait for other blocks
// and while there are none.
func runSlow(ctx context.Context, env *contest.Env, report func(contest.Result)) (err error) {
	table, err := made(ctx, env, max(env.Rows, leastShort))
	if err != nil {
		return err
	}
	program, err := load.Build(ctx, env.Dir)
	if err != nil {
		return err
	}
	g, err := machine.NewGroup(machine.Limits{MemoryBytes: table.Bytes / 8, ReadsPerSec: slowReads, Dir: env.Dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := machine.Evict(table.File); err != nil {
		return err
	}
	s, err := StartServer(ctx, env, g, table.Dir, "--verify", "index")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	hot := load.Options{Addr: s.Addr, Kind: load.Get, Rows: hotRows, Connections: hotConns, Threads: 1, Duration: hotTime, Rate: hotRate}
	cold := load.Options{Addr: s.Addr, Kind: load.Get, Rows: table.Rows, Connections: clients, Threads: 1, Duration: hotTime + time.Second}
	var alone, with, rates, ratios []float64
	for range hotRounds {
		// The cold clients ask for the same again each time.
		if err := machine.Evict(table.File); err != nil {
			return err
		}
		warm, err := program.Run(ctx, hot) // brings its blocks into memory
		if err = errors.Join(err, warm.Err()); err != nil {
			return err
		}
		a, err := program.Run(ctx, hot)
		if err = errors.Join(err, a.Err()); err != nil {
			return err
		}
		w, c, err := together(ctx, program, hot, cold)
		if err != nil {
			return err
		}
		alone, with, rates = append(alone, a.P99), append(with, w.P99), append(rates, c.Rate())
		ratios = append(ratios, w.P99/a.P99)
	}
	r := contest.Ratio(area, "hot-p99/server",
		fmt.Sprintf("p99 of %d requests/s for what is in memory, while 64 clients wait for a disk of %d reads/s, %d rows", hotRate, slowReads, table.Rows),
		"µs", contest.Median(with), "the same without them", contest.Median(alone), contest.AtMost(2),
		fmt.Sprintf("memory cgroup of %d MiB; the others are answered %.0f times a second, in bursts of the throttle, which the clients of both answer on the same processors", table.Bytes/8>>20, contest.Median(rates)))
	r.Ratios, r.Ratio = ratios, contest.Median(ratios)
	holds := r.Bar.Holds(r.Ratio)
	r.Holds = &holds
	report(r)
	return nil
}

// together runs hot in the midst of cold.
func together(ctx context.Context, program load.Program, hot, cold load.Options) (h, c load.Result, err error) {
	done := make(chan error, 1)
	go func() {
		var err error
		c, err = program.Run(ctx, cold)
		done <- err
	}()
	select {
	case <-time.After((cold.Duration - hot.Duration) / 2):
	case <-ctx.Done():
	}
	h, err = program.Run(ctx, hot)
	err = errors.Join(err, <-done)
	return h, c, errors.Join(err, h.Err(), c.Err())
}

// execCommand is exec.CommandContext for a process that dies with this one.
func execCommand(ctx context.Context, path string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, path, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

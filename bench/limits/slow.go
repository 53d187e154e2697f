package limits

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/machine"
)

const (
	slowReads = 1000 // a second, of the disk
	hotRows   = 1000 // whose blocks are in memory
	hotRate   = 5000 // requests a second for them, when each is due by the clock
	hotConns  = 16

	slowTime   = 2 * time.Second // of a measurement
	slowRounds = 6               // the fewest that tell an interval
)

// The results of runSlow.
const (
	slowServer  = "hot-p99/server"
	slowFloor   = "hot-p99/floor"
	slowAgainst = "hot-p99/server-floor"
)

// runSlow measures how long requests take whose block is in memory, on a disk
// that is slow and in too little memory, while clients wait for other blocks
// and while there are none: those of promoserve, and those of a Floor.
func runSlow(ctx context.Context, env *contest.Env, report func(contest.Result)) (err error) {
	s, err := newShort(ctx, env, max(env.Rows, leastShort))
	if err != nil {
		return err
	}
	s.time = slowTime
	return s.runSlow(ctx, slowRounds, report)
}

func (s *short) runSlow(ctx context.Context, rounds int, report func(contest.Result)) (err error) {
	floor, err := buildCommand(ctx, s.env.Dir, "promofloor")
	if err != nil {
		return err
	}
	g, err := machine.NewGroup(machine.Limits{MemoryBytes: s.limit, ReadsPerSec: slowReads, Dir: s.env.Dir})
	if errors.Is(err, machine.ErrNoGroups) {
		for _, name := range []string{slowServer, slowFloor, slowAgainst} {
			report(contest.Missing(area, name, "p99 of requests for what is in memory, while others wait for the disk", "", err.Error()))
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	ours, err := StartServer(ctx, s.env, g, s.table.Dir, "--verify", "index")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.Stop()) }()
	least, err := start(ctx, g, floor, func(addr string) []string {
		return []string{"-listen", addr, "-file", s.table.File, "-rows", strconv.FormatInt(s.table.Rows, 10), "-hot", strconv.Itoa(hotRows)}
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, least.Stop()) }()

	var a, b slowFigures
	var against []float64
	for range rounds {
		if err := errors.Join(s.slowRound(ctx, ours, &a), s.slowRound(ctx, least, &b)); err != nil {
			return err
		}
		against = append(against, last(a.with)/last(b.with))
	}
	s.reportSlow(&a, &b, against, report)
	return nil
}

// slowFigures are those of a server, one a round.
type slowFigures struct {
	alone, with []float64 // p99 in µs
	ratios      []float64
	rates       []float64 // answers a second to those who wait for the disk
	lost        []float64 // blocks that did not stay in memory
}

func last(x []float64) float64 { return x[len(x)-1] }

// slowRound adds a round of the server p to f.
func (s *short) slowRound(ctx context.Context, p *Server, f *slowFigures) error {
	// The cold clients ask for the same again each time.
	if err := machine.Evict(s.table.File); err != nil {
		return err
	}
	hot := load.Options{Addr: p.Addr, Kind: load.Get, Rows: hotRows, Connections: hotConns, Threads: 1, Duration: s.time, Rate: hotRate}
	cold := load.Options{Addr: p.Addr, Kind: load.Get, Rows: s.table.Rows, Connections: clients, Threads: 1, Duration: s.time + time.Second}
	warm, err := s.load.Run(ctx, hot) // brings its blocks into memory
	if err = errors.Join(err, warm.Err()); err != nil {
		return err
	}
	alone, err := s.load.Run(ctx, hot)
	if err = errors.Join(err, alone.Err()); err != nil {
		return err
	}
	with, others, err := together(ctx, s.load, hot, cold)
	if err != nil {
		return err
	}
	before, err := diskBytes(strconv.Itoa(p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	again, err := s.load.Run(ctx, hot)
	if err = errors.Join(err, again.Err()); err != nil {
		return err
	}
	after, err := diskBytes(strconv.Itoa(p.cmd.Process.Pid))
	f.alone, f.with = append(f.alone, alone.P99), append(f.with, with.P99)
	f.ratios = append(f.ratios, with.P99/alone.P99)
	f.rates, f.lost = append(f.rates, others.Rate()), append(f.lost, float64(after-before)/4096)
	return err
}

func (s *short) reportSlow(ours, floor *slowFigures, against []float64, report func(contest.Result)) {
	what := fmt.Sprintf("p99 of %d requests/s for what is in memory, while 64 clients wait for a disk of %d reads/s, %d rows", hotRate, slowReads, s.table.Rows)
	note := func(f *slowFigures) string {
		return fmt.Sprintf("memory cgroup of %d MiB; the others are answered %.0f times a second; of %d blocks %.0f did not stay in memory",
			s.limit>>20, contest.Median(f.rates), hotRows, contest.Median(f.lost))
	}
	one := func(name, what string, f *slowFigures, bar *contest.Bar) {
		r := contest.Ratio(area, name, what, "µs", contest.Median(f.with), "the same without them", contest.Median(f.alone), bar, note(f))
		r.Rows = s.table.Rows
		r.Turns(f.ratios)
		report(r)
	}
	one(slowServer, what, ours, contest.AtMost(2))
	const setup = "a thread for each connection, which reads, preads and writes a constant answer"
	one(slowFloor, what+", of a server that does nothing but system calls", floor, nil)
	r := contest.Ratio(area, slowAgainst, what+", against a server that does nothing but system calls", "µs",
		contest.Median(ours.with), "system calls", contest.Median(floor.with), nil, note(floor))
	r.Rows, r.PeerSetup = s.table.Rows, setup
	r.Turns(against)
	report(r)
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

// Package limits measures what is left when memory, the disk or time is short:
// a file larger than memory, a slow disk, a start with a large file, a full
// verify.
//
// PROMO_BENCH_LARGE may name a directory with a generation that promobuild
// generate made with version 4 ids and seed 0: what needs a size that takes
// long to build is measured of that one too.
package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/machine"
	"promostore/format/generation"
	"promostore/reader"
)

const (
	area    = "limits"
	clients = 64

	// leastShort is how many rows the file that is larger than memory has at
	// least: an eighth of it has to hold a process, which leastMemory does.
	leastShort  = 16_000_000
	leastMemory = 48 << 20

	// barRows is the size that bars on the time of a start are for.
	barRows = 1_000_000_000

	readTime = 3 * time.Second
)

// A Table is a generation of a table of version 4 ids with seed 0.
type Table struct {
	Dir, File string
	Rows      int64
	Bytes     int64 // of File
}

// Open is the table with the newest generation of dir.
func Open(dir string) (Table, error) {
	list, err := generation.List(dir)
	if err == nil && len(list) == 0 {
		err = errors.New("no generation")
	}
	if err != nil {
		return Table{}, fmt.Errorf("%s: %w", dir, err)
	}
	t := Table{Dir: dir, File: list[len(list)-1].Files[0]}
	f, err := reader.Open(t.File, reader.AccessPread)
	if err != nil {
		return Table{}, err
	}
	t.Rows, t.Bytes = int64(f.Header().Records), f.Header().FileLen
	return t, f.Close()
}

// Large is that of PROMO_BENCH_LARGE, and whether there is one.
func Large() (Table, bool, error) {
	dir := os.Getenv("PROMO_BENCH_LARGE")
	if dir == "" {
		return Table{}, false, nil
	}
	t, err := Open(dir)
	return t, err == nil, err
}

// made is the table of so many rows.
func made(ctx context.Context, env *contest.Env, rows int64) (Table, error) {
	dir, err := env.Generation(ctx, "v4", rows)
	if err != nil {
		return Table{}, err
	}
	return Open(dir)
}

// Groups are the contests where turns fit.
func Groups() []contest.Prepare { return []contest.Prepare{prepareVerifies, prepareShort} }

// Run is a contest.Area.
func Run(ctx context.Context, env *contest.Env, report func(contest.Result)) error {
	err := contest.Each(ctx, env, Groups(), func(c *contest.Contest) error { return run(ctx, c, report) }, report)
	if err != nil {
		return err
	}
	tables, err := tables(ctx, env)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := runStart(ctx, env, t, report); err != nil {
			return err
		}
	}
	return runSlow(ctx, env, report)
}

// run holds c, and reports the pages that a lookup reads too.
func run(ctx context.Context, c *contest.Contest, report func(contest.Result)) error {
	r, err := c.Run(ctx)
	if err != nil {
		return err
	}
	report(r)
	if pages, ok := r.OursMore["pages-per-lookup"]; ok {
		report(contest.Figure(area, "pages/"+r.Name, "pages read from the disk for each: "+r.What, "pages/lookup", pages, contest.AtMost(1.05), ""))
	}
	return nil
}

// tables are the one of env, and the large one if there is one.
func tables(ctx context.Context, env *contest.Env) ([]Table, error) {
	table, err := made(ctx, env, env.Rows)
	if err != nil {
		return nil, err
	}
	large, ok, err := Large()
	if err != nil || !ok {
		return []Table{table}, err
	}
	return []Table{table, large}, nil
}

func prepareVerifies(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	tables, err := tables(ctx, env)
	g := &contest.Group{}
	for _, t := range tables {
		g.Contests = append(g.Contests, verifies(env, t)...)
	}
	return g, err
}

func prepareShort(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	s, err := newShort(ctx, env, max(env.Rows, leastShort))
	if err != nil {
		return nil, err
	}
	g := &contest.Group{Contests: s.contests()}
	if s.group, err = machine.NewGroup(machine.Limits{MemoryBytes: s.limit}); errors.Is(err, machine.ErrNoGroups) {
		for _, c := range g.Contests {
			g.Results = append(g.Results, contest.Missing(c.Area, c.Name, c.What, c.Peer.Name, err.Error()))
		}
		g.Contests = nil
		return g, nil
	}
	if err != nil {
		return nil, err
	}
	g.Close = s.group.Close
	return g, nil
}

// verifies are a full verify against reading the same file, from the disk, and
// from memory where it fits.
func verifies(env *contest.Env, t Table) []contest.Contest {
	one := func(name, what string, before func(string) error) contest.Contest {
		turn := func(do func(context.Context) error) func(context.Context) (contest.Sample, error) {
			return func(ctx context.Context) (contest.Sample, error) {
				if err := before(t.File); err != nil {
					return contest.Sample{}, err
				}
				start := time.Now()
				err := do(ctx)
				return contest.Sample{N: float64(t.Bytes), Took: time.Since(start)}, err
			}
		}
		return contest.Contest{
			Area: area, Name: fmt.Sprintf("verify-%s/%d", name, t.Rows),
			What: fmt.Sprintf("promobuild verify, %d rows, %s", t.Rows, what), Unit: "B", Rows: t.Rows,
			Ours: contest.Contestant{Name: "promobuild verify", Run: turn(func(ctx context.Context) error {
				return command(ctx, env, "promobuild", "verify", t.File)
			})},
			Peer: contest.Contestant{Name: "reading the file", Setup: "read(2) of 1 MiB at a time, one thread", Run: turn(func(ctx context.Context) error {
				_, err := machine.ReadFile(ctx, t.File)
				return err
			})},
			Bar: contest.AtLeast(0.8).For(barRows, t.Rows),
		}
	}
	list := []contest.Contest{one("cold", "from the disk", machine.Evict)}
	list[0].Note = "no part of the file is in the page cache"
	if t.Bytes < machine.Memory()/2 {
		list = append(list, one("cached", "from memory", func(string) error { return nil }))
		list[1].Bar, list[1].Note = nil, "the bar is for a disk"
	}
	return list
}

// runStart measures a start that checks the index alone, and the heap then and
// after a full verify.
func runStart(ctx context.Context, env *contest.Env, t Table, report func(contest.Result)) error {
	for _, verify := range []string{"index", "full"} {
		if verify == "full" && t.Bytes > machine.Memory()/2 {
			continue // minutes, of the disk alone
		}
		var ready, heap []float64
		for range 3 {
			s, err := StartServer(ctx, env, nil, t.Dir, "--verify", verify)
			if err != nil {
				return err
			}
			inUse, err := s.Metric(ctx, "go_memstats_heap_inuse_bytes")
			if err = errors.Join(err, s.Stop()); err != nil {
				return err
			}
			ready, heap = append(ready, s.Ready.Seconds()), append(heap, inUse)
		}
		var bar *contest.Bar
		if verify == "index" {
			bar = contest.AtMost(1).For(barRows, t.Rows)
		}
		report(contest.Figure(area, fmt.Sprintf("ready-%s/%d", verify, t.Rows),
			fmt.Sprintf("from exec to ready, --verify %s, %d rows", verify, t.Rows), "s", contest.Median(ready), bar, ""))
		report(contest.Figure(area, fmt.Sprintf("heap-%s/%d", verify, t.Rows),
			fmt.Sprintf("heap of the server, --verify %s, %d rows", verify, t.Rows), "B", contest.Median(heap),
			contest.AtMost(64<<20+0.1*float64(t.Rows)), "the bar is 64 MiB + 0.1 byte a record"))
	}
	return nil
}

// A short is a file 8 times the memory of a group.
type short struct {
	env   *contest.Env
	table Table
	group *machine.Group // made by who runs the contests
	reads string         // the command promoread
	load  load.Program
	limit int64 // memory of the group, in bytes
	time  time.Duration
}

func newShort(ctx context.Context, env *contest.Env, rows int64) (*short, error) {
	table, err := made(ctx, env, rows)
	if err != nil {
		return nil, err
	}
	s := &short{env: env, table: table, limit: max(table.Bytes/8, leastMemory), time: readTime}
	if s.reads, err = buildCommand(ctx, env.Dir, "promoread"); err != nil {
		return nil, err
	}
	s.load, err = load.Build(ctx, env.Dir)
	return s, err
}

// warm is how many reads bring the page cache of the group to where it stays.
func (s *short) warm() int64 { return s.limit / 4096 * 5 / 4 }

func (s *short) turn(o Reads) func(context.Context) (contest.Sample, error) {
	o.File, o.Rows, o.Clients, o.Warm, o.Time = s.table.File, s.table.Rows, clients, s.warm(), s.time
	return func(ctx context.Context) (contest.Sample, error) {
		r, err := o.run(ctx, s.group, s.reads)
		return contest.Sample{
			N: float64(r.Lookups), Took: time.Duration(r.Seconds * 1e9),
			More: map[string]float64{
				"pages-per-lookup":  float64(r.DiskBytes) / 4096 / float64(r.Lookups),
				"cpu-µs-per-lookup": r.CPUSeconds / float64(r.Lookups) * 1e6,
			},
		}, err
	}
}

func (s *short) contests() []contest.Contest {
	c := contest.Contest{
		Area: area, Name: "larger-than-memory/threads", Unit: "lookups", Rows: s.table.Rows,
		What: fmt.Sprintf("random lookups in a file 8 × the memory, 64 clients, %d rows, against bare reads by 64 threads", s.table.Rows),
		Ours: contest.Contestant{Name: "reader", Setup: "goroutines", Run: s.turn(Reads{})},
		Peer: contest.Contestant{Name: "pread", Setup: "4 KiB, FADV_RANDOM, a thread for each client", Run: s.turn(Reads{Bare: true, Threads: true})},
		Bar:  contest.AtLeast(0.9),
		Note: fmt.Sprintf("memory cgroup of %d MiB", s.limit>>20),
	}
	goroutines := c
	goroutines.Name = "larger-than-memory/goroutines"
	goroutines.What = fmt.Sprintf("the same against bare reads by 64 goroutines, %d rows", s.table.Rows)
	goroutines.Peer = contest.Contestant{Name: "pread in Go", Setup: "4 KiB, FADV_RANDOM, os.File.ReadAt by goroutines", Run: s.turn(Reads{Bare: true})}
	server := c
	server.Name, server.Unit, server.Bar = "larger-than-memory/server", "requests", nil
	server.What = fmt.Sprintf("the same through promoserve with 64 connections, %d rows, against bare reads by 64 threads", s.table.Rows)
	server.Note += "; no bar: HTTP and the clients take both processors"
	server.Ours = contest.Contestant{Name: "promoserve", Setup: "--access auto", Run: func(ctx context.Context) (contest.Sample, error) {
		if err := machine.Evict(s.table.File); err != nil {
			return contest.Sample{}, err
		}
		p, err := StartServer(ctx, s.env, s.group, s.table.Dir, "--verify", "index")
		if err != nil {
			return contest.Sample{}, err
		}
		r, err := s.load.Run(ctx, load.Options{Addr: p.Addr, Kind: load.Get, Rows: s.table.Rows, Connections: clients, Threads: 1, Duration: 2 * s.time})
		if err = errors.Join(err, r.Err(), p.Stop()); err != nil {
			return contest.Sample{}, err
		}
		return contest.Sample{N: float64(r.Requests), Took: time.Duration(r.Seconds * 1e9), More: map[string]float64{"p99-µs": r.P99}}, nil
	}}
	return []contest.Contest{c, goroutines, server}
}

// command runs one of the programs.
func command(ctx context.Context, env *contest.Env, name string, args ...string) error {
	c := execCommand(ctx, filepath.Join(env.Bin, name), args...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

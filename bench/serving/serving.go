// Package serving compares promoserve over the loopback interface with what
// people would use instead, and with the least that a server can do. Every
// server is a process of its own, and so is the load, which is the same for
// all: random ids of the table, one in a hundred of which is not there.
//
// Client and server share the processors. What a server leaves to the client
// thus counts, as do the system calls of both.
package serving

import (
	"context"
	"errors"
	"fmt"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/peer"
)

const area = "http"

// databaseRows is the most that a database is filled with; ours has as many
// then.
const databaseRows = 2_000_000

// A rival is a server to compare with, and what it needs.
type rival struct {
	name     string
	what     string
	programs []string // that must be installed
	debian   string   // the package that has them
	bar      *contest.Bar
	rounds   int
	most     int64 // rows; 0: any number
	start    func(ctx context.Context, env *contest.Env, ours *server, rows int64) (*server, error)
	note     string
}

// fewRounds are those of rivals that are far away.
const fewRounds = 7

var rivals = []rival{
	{
		name: "constant", what: "a fasthttp handler with a constant answer of the same bytes",
		bar: contest.AtLeast(0.95), rounds: 25,
		start: func(ctx context.Context, env *contest.Env, ours *server, _ int64) (*server, error) {
			return startConstant(ctx, env, ours)
		},
	},
	{
		name: "nginx", what: "nginx, return 200 of as many bytes", rounds: fewRounds,
		programs: []string{"nginx"}, debian: "nginx-light",
		start: func(ctx context.Context, env *contest.Env, ours *server, _ int64) (*server, error) {
			return startNginx(ctx, env, ours)
		},
	},
	overPeer("bbolt", &peer.Bbolt),
	overPeer("pebble", &peer.Pebble),
	{
		name: "redis", what: "GET of Redis", rounds: fewRounds,
		programs: []string{"redis-server"}, debian: "redis-server", most: databaseRows,
		start: func(ctx context.Context, env *contest.Env, _ *server, rows int64) (*server, error) {
			return startRedis(ctx, env, rows)
		},
		note: "Redis has one thread for commands, and a protocol shorter than HTTP",
	},
	{
		name: "mariadb", what: "the design that it replaces: net/http in front of MariaDB", rounds: fewRounds,
		programs: []string{"mariadbd", "mariadb-install-db"}, debian: "mariadb-server", most: databaseRows,
		bar: contest.AtLeast(12),
		start: func(ctx context.Context, env *contest.Env, _ *server, rows int64) (*server, error) {
			return startMariaDB(ctx, env, rows)
		},
		note: "the processor time is that of both processes; compare with what a constant answer reaches: nothing over HTTP is faster",
	},
}

func overPeer(name string, p *peer.Peer) rival {
	return rival{
		name: name, what: "the same handler over " + p.Name, rounds: fewRounds, most: databaseRows,
		start: func(ctx context.Context, env *contest.Env, _ *server, rows int64) (*server, error) {
			return startPeer(ctx, env, p, rows)
		},
	}
}

// missing says what is not installed, if anything.
func (r *rival) missing() error {
	for _, p := range r.programs {
		if _, err := peer.LookPath(p, r.debian); err != nil {
			return err
		}
	}
	return nil
}

// A match is a contest of GET with all that it needs.
type match struct {
	contest.Contest
	driver       driver
	ours, theirs *server
}

// match sets up ours and r.
func (r *rival) match(ctx context.Context, env *contest.Env, program load.Program) (*match, error) {
	m := &match{driver: driver{program, env.Rows}}
	if r.most > 0 {
		m.driver.rows = min(env.Rows, r.most)
	}
	var err error
	if m.ours, err = oursOver(ctx, env, m.driver.rows); err != nil {
		return nil, err
	}
	if m.theirs, err = r.start(ctx, env, m.ours, m.driver.rows); err != nil {
		return nil, errors.Join(err, m.ours.stop())
	}
	if err = m.theirs.check(ctx, m.ours, m.driver.rows); err != nil {
		return nil, errors.Join(err, m.stop())
	}
	m.Contest = contest.Contest{
		Area: area, Name: "get/" + r.name, Unit: "requests", Rows: m.driver.rows, Rounds: r.rounds, Bar: r.bar, Note: r.note,
		What: fmt.Sprintf("GET, %d records, against %s", m.driver.rows, r.what),
		Ours: m.driver.contestant(m.ours), Peer: m.driver.contestant(m.theirs),
	}
	return m, nil
}

func (m *match) stop() error { return errors.Join(m.theirs.stop(), m.ours.stop()) }

// run is the contest under full load, and then half load on each.
func (m *match) run(ctx context.Context) (contest.Result, error) {
	r, err := m.Run(ctx)
	if err != nil {
		return r, err
	}
	return r, m.driver.half(ctx, &r, m.ours, m.theirs)
}

// oursOver is promoserve over a table of so many rows.
func oursOver(ctx context.Context, env *contest.Env, rows int64) (*server, error) {
	dir, err := env.Generation(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	return startOurs(ctx, env, fmt.Sprintf("promoserve-%d", rows), dir)
}

// Contests sets up the contests of GET for which everything is installed, all
// servers at the same time.
func Contests(ctx context.Context, env *contest.Env) (list []contest.Contest, cleanup func() error, err error) {
	var matches []*match
	cleanup = func() error {
		var err error
		for _, m := range matches {
			err = errors.Join(err, m.stop())
		}
		return err
	}
	program, err := load.Build(ctx, env.Bin)
	for i := 0; err == nil && i < len(rivals); i++ {
		if why := rivals[i].missing(); why != nil {
			env.Logf("not measured: %v", why)
			continue
		}
		var m *match
		if m, err = rivals[i].match(ctx, env, program); err == nil {
			list, matches = append(list, m.Contest), append(matches, m)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, cleanup())
	}
	return list, cleanup, nil
}

// Run holds all contests and takes all figures of the area.
func Run(ctx context.Context, env *contest.Env, report func(contest.Result)) error {
	program, err := load.Build(ctx, env.Bin)
	if err != nil {
		return err
	}
	for i := range rivals {
		r := &rivals[i]
		if why := r.missing(); why != nil {
			report(contest.Missing(area, "get/"+r.name, "GET, against "+r.what, r.name, why.Error()))
			continue
		}
		env.Logf("http: GET against %s", r.name)
		if err := r.run(ctx, env, program, report); err != nil {
			return err
		}
	}
	for _, f := range []func(context.Context, *contest.Env, load.Program, func(contest.Result)) error{
		runLookup, runAllocs, runProcessors, runSwaps, runWrk,
	} {
		if err := f(ctx, env, program, report); err != nil {
			return err
		}
	}
	return nil
}

func (r *rival) run(ctx context.Context, env *contest.Env, program load.Program, report func(contest.Result)) error {
	m, err := r.match(ctx, env, program)
	if err != nil {
		return err
	}
	result, err := m.run(ctx)
	if err == nil {
		report(result)
	}
	return errors.Join(err, m.stop())
}

// runLookup measures batches, and the memory of the server after them and
// after requests for one promotion.
func runLookup(ctx context.Context, env *contest.Env, program load.Program, report func(contest.Result)) (err error) {
	const rounds = 5
	env.Logf("http: batches")
	d := &driver{program, env.Rows}
	s, err := oursOver(ctx, env, d.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	rates, more := []float64{}, map[string][]float64{}
	for range rounds {
		r, cpu, err := d.timed(ctx, s, load.Lookup)
		if err != nil {
			return err
		}
		rates = append(rates, r.Rate()*load.BatchLen)
		for name, v := range sampleOf(r, cpu/load.BatchLen).More {
			more[name] = append(more[name], v)
		}
	}
	r := contest.Figure(area, "lookup", fmt.Sprintf("POST /promotions/lookup, %d ids a request, %d records", load.BatchLen, d.rows), "ids/s",
		contest.Median(rates), contest.AtLeast(2_000_000), "latencies are those of a request, cpu-s/M is of a million ids")
	r.OursMore = map[string]float64{}
	for name, v := range more {
		r.OursMore[name] = contest.Median(v)
	}
	report(r)
	if _, err := d.load(ctx, s, load.Get, turnLen, 0); err != nil {
		return err
	}
	heap, err := s.metric(ctx, "go_memstats_heap_inuse_bytes")
	if err != nil {
		return err
	}
	report(contest.Figure(area, "heap", fmt.Sprintf("heap of the server after load, %d records", d.rows), "bytes",
		heap, contest.AtMost(64<<20+0.1*float64(d.rows)), "go_memstats_heap_inuse_bytes; the bar is 64 MiB and 0.1 byte a record"))
	return nil
}

func runSwaps(ctx context.Context, env *contest.Env, program load.Program, report func(contest.Result)) error {
	env.Logf("http: a new generation every second")
	d := &driver{program, swapTable(env.Rows)}
	s, err := newSwaps(ctx, env, d.rows)
	if err != nil {
		return err
	}
	err = s.run(ctx, d, report)
	return errors.Join(err, s.stop())
}

// runWrk compares what the load costs with what wrk costs.
func runWrk(ctx context.Context, env *contest.Env, program load.Program, report func(contest.Result)) (err error) {
	c := contest.Contest{
		Area: area, Name: "load/wrk", Unit: "requests", Rounds: 5,
		What: "the load generator, against wrk, on a constant answer",
		Note: "client-cpu-s/M is what a million requests cost the client; above 1: the client leaves more to the server than wrk does",
	}
	wrk, err := peer.LookPath("wrk", "wrk")
	if err != nil {
		report(contest.Missing(area, c.Name, c.What, "wrk", err.Error()))
		return nil
	}
	env.Logf("http: the load generator against wrk")
	d := &driver{program, env.Rows}
	ours, err := oursOver(ctx, env, d.rows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ours.stop()) }()
	s, err := startConstant(ctx, env, ours)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	c.Ours = d.loader(s)
	if c.Peer, err = d.wrk(ctx, env, wrk, s); err != nil {
		return err
	}
	result, err := c.Run(ctx)
	if err == nil {
		report(result)
	}
	return err
}

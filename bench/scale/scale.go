// Package scale measures how everything changes with the number of rows:
// building, starting, looking up, answering.
//
// A large generation that PROMO_BENCH_LARGE names, see package limits, takes
// part in all but building.
package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"promostore/bench/contest"
	"promostore/bench/limits"
	"promostore/bench/load"
	"promostore/bench/lookups"
	"promostore/bench/machine"
	"promostore/format"
	"promostore/reader"
	"promostore/synth"
)

const (
	area = "scale"

	leastRows = 100_000
	bigRows   = 1_000_000_000 // what the bars are for
	bigTime   = 240.0         // seconds

	buildMemory  = 2 << 30  // what builds are given
	memoryBeyond = 64 << 20 // what they may take beyond that

	lookupTime  = time.Second
	requestTime = 3 * time.Second
	rounds      = 3
)

// sizes are the powers of ten from leastRows to rows, or rows alone if it is
// less.
func sizes(rows int64) []int64 {
	if rows < leastRows {
		return []int64{rows}
	}
	var list []int64
	for n := int64(leastRows); n <= rows; n *= 10 {
		list = append(list, n)
	}
	return list
}

// Run is a contest.Area.
func Run(ctx context.Context, env *contest.Env, report func(contest.Result)) error {
	program, err := load.Build(ctx, env.Dir)
	if err != nil {
		return err
	}
	for _, rows := range sizes(env.Rows) {
		if err := runSize(ctx, env, program, rows, report); err != nil {
			return err
		}
	}
	large, ok, err := limits.Large()
	if err != nil || !ok || large.Rows <= env.Rows {
		return err
	}
	return runFile(ctx, env, program, large, report)
}

// runSize builds a table, and measures what was built.
func runSize(ctx context.Context, env *contest.Env, program load.Program, rows int64, report func(contest.Result)) (err error) {
	dir := filepath.Join(env.Dir, fmt.Sprintf("scale-%d", rows))
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := build(ctx, env, dir, rows)
	if err != nil {
		return err
	}
	var timeBar *contest.Bar
	if rows >= bigRows {
		timeBar = contest.AtLeast(bigRows / bigTime)
	}
	figure := figures(rows, report)
	figure("build", "rows a second, generated into a pipe and built", "rows/s", float64(rows)/b.seconds, timeBar)
	figure("peak-memory", "peak memory of the build with --memory 2GiB", "B", float64(b.PeakRSSBytes), contest.AtMost(buildMemory+memoryBeyond))
	figure("record-bytes", "bytes of the file a record", "B/record", float64(b.FileBytes)/float64(b.Records), nil)
	figure("spilled", "bytes spilled a record", "B/record", float64(b.SpilledBytes)/float64(b.Records), nil)
	figure("disk", "most disk used while building, over the file", "×", float64(b.peakDisk)/float64(b.FileBytes), contest.AtMost(1.2))
	table, err := limits.Open(dir)
	if err != nil {
		return err
	}
	return runFile(ctx, env, program, table, report)
}

// figures reports a figure of so many rows.
func figures(rows int64, report func(contest.Result)) func(name, what, unit string, v float64, bar *contest.Bar) {
	return func(name, what, unit string, v float64, bar *contest.Bar) {
		report(contest.Figure(area, fmt.Sprintf("%s/%d", name, rows), fmt.Sprintf("%s, %d rows", what, rows), unit, v, bar, ""))
	}
}

// runFile measures serving a table and looking it up.
func runFile(ctx context.Context, env *contest.Env, program load.Program, t limits.Table, report func(contest.Result)) error {
	figure := figures(t.Rows, report)
	fits := t.Bytes < machine.Memory()/2
	if fits {
		ns, err := lookup(ctx, t, reader.AccessAuto, t.Rows)
		if err != nil {
			return err
		}
		figure("lookup", "a lookup of a random promotion", "ns", ns, nil)
	} else {
		// The first of the file, as many as there is memory for.
		part := int64(float64(t.Rows) * float64(machine.Memory()) / 4 / float64(t.Bytes))
		ns, err := lookup(ctx, t, reader.AccessMmap, part)
		if err != nil {
			return err
		}
		figure("lookup", fmt.Sprintf("a lookup of a random promotion of %d that are in memory", part), "ns", ns, nil)
		if ns, err = lookup(ctx, t, reader.AccessAuto, t.Rows); err != nil {
			return err
		}
		figure("lookup-disk", "a lookup of a random promotion, one at a time, from the disk", "ns", ns, nil)
		if err := lookups.Part(ctx, t.Dir, machine.Memory()/4, report); err != nil {
			return err
		}
	}
	for _, verify := range []string{"index", "full"} {
		s, err := limits.StartServer(ctx, env, nil, t.Dir, "--verify", verify)
		if err != nil {
			return err
		}
		name := "ready"
		if verify == "index" {
			name += "-index"
		}
		figure(name, "from exec to ready, --verify "+verify, "s", s.Ready.Seconds(), nil)
		if verify == "full" {
			err = requests(ctx, program, s, t, figure)
		}
		if err = errors.Join(err, s.Stop()); err != nil {
			return err
		}
	}
	return nil
}

func requests(ctx context.Context, program load.Program, s *limits.Server, t limits.Table, figure func(name, what, unit string, v float64, bar *contest.Bar)) error {
	var rates []float64
	for range rounds {
		r, err := program.Run(ctx, load.Options{Addr: s.Addr, Kind: load.Get, Rows: t.Rows, Connections: 64, Threads: 1, Duration: requestTime, Misses: 0.01})
		if err != nil {
			return err
		}
		if r.Failed > 0 {
			return fmt.Errorf("%d of %d requests failed: %s", r.Failed, r.Failed+r.Requests, r.Failure)
		}
		rates = append(rates, r.Rate())
	}
	figure("requests", "GET over loopback, 64 connections, 1 % misses", "requests/s", contest.Median(rates), nil)
	return nil
}

// numKeys is how many ids lookup draws before the time starts.
const numKeys = 1 << 20

// lookup is the nanoseconds of a lookup, one after the other, of ids among the
// first rows of the file in the order of the ids. If that is all of them and
// the file is mapped, it is verified, as it would be in a server.
func lookup(ctx context.Context, t limits.Table, access reader.Access, rows int64) (ns float64, err error) {
	f, err := reader.Open(t.File, access)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if rows == t.Rows {
		if f.Access() == reader.AccessMmap {
			if err := f.Verify(ctx, nil); err != nil {
				return 0, err
			}
		}
	} else if err := readFirst(t.File, int64(float64(t.Bytes)*float64(rows)/float64(t.Rows))); err != nil {
		return 0, err
	}
	keys := draw(t.Rows, rows)
	var all []float64
	for round := range rounds + 1 {
		n := 0
		start := time.Now()
		for ; n%1024 != 0 || time.Since(start) < lookupTime; n++ {
			_, found, err := f.Get(keys[n%len(keys)])
			if err != nil {
				return 0, err
			}
			if !found {
				return 0, fmt.Errorf("%s is not in %s", keys[n%len(keys)], t.File)
			}
			if n%(64<<10) == 0 && ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
		if round > 0 { // the first is to get warm
			all = append(all, float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
	return contest.Median(all), nil
}

// draw is random ids of a table, of those that are among its first part ids in
// their order, about.
func draw(rows, part int64) []format.Key {
	table := synth.Keys{Kind: synth.KeysV4}
	limit := uint64(math.MaxUint64)
	if part < rows {
		limit = uint64(float64(part) / float64(rows) * math.MaxUint64)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]format.Key, 0, numKeys)
	for len(keys) < cap(keys) {
		if k := table.At(rng.Uint64N(uint64(rows))); k.Hi <= limit {
			keys = append(keys, k)
		}
	}
	return keys
}

// readFirst brings the first n bytes of a file into the page cache.
func readFirst(path string, n int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(io.Discard, f, n)
	return err
}

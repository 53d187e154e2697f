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
	"os"
	"path/filepath"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/bench/limits"
	"promostore/bench/load"
	"promostore/bench/lookups"
	"promostore/bench/machine"
)

const (
	area = "scale"

	leastRows = 100_000
	bigRows   = 1_000_000_000 // what the bars are for
	bigTime   = 240.0         // seconds

	buildMemory  = 2 << 30  // what builds are given
	memoryBeyond = 64 << 20 // what they may take beyond that

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
	room, err := free(env.Dir)
	if err != nil {
		return err
	}
	if need := rows * diskPerRow; need > room {
		report(contest.Missing(area, fmt.Sprintf("build/%d", rows), fmt.Sprintf("everything about %d rows", rows), "",
			fmt.Sprintf("%d MiB of disk are needed, %d MiB are free", need>>20, room>>20)))
		return nil
	}
	dir := filepath.Join(env.Dir, fmt.Sprintf("scale-%d", rows))
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := build(ctx, env, dir, rows)
	if err != nil {
		return err
	}
	figure := figures(rows, report)
	figure("build", "rows a second, generated into a pipe and built", "rows/s", float64(rows)/b.seconds, contest.AtLeast(bigRows/bigTime).For(bigRows, rows))
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

// diskPerRow is more bytes than a build takes on the disk at any time.
const diskPerRow = 40

// free is the bytes of the disk of dir that are free.
func free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("room in %s: %w", dir, err)
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// figures reports a figure of so many rows.
func figures(rows int64, report func(contest.Result)) func(name, what, unit string, v float64, bar *contest.Bar) {
	return func(name, what, unit string, v float64, bar *contest.Bar) {
		r := contest.Figure(area, fmt.Sprintf("%s/%d", name, rows), fmt.Sprintf("%s, %d rows", what, rows), unit, v, bar, "")
		r.Rows = rows
		report(r)
	}
}

// runFile measures serving a table and looking it up.
func runFile(ctx context.Context, env *contest.Env, program load.Program, t limits.Table, report func(contest.Result)) error {
	figure := figures(t.Rows, report)
	fits := t.Bytes < machine.Memory()/2
	if fits {
		ns, err := lookups.Chained(ctx, t.Dir)
		if err != nil {
			return err
		}
		figure("lookup", "a lookup of a random promotion", "ns", ns, nil)
	} else {
		err := lookups.Part(ctx, t.Dir, machine.Memory()/4, func(r contest.Result) {
			report(r)
			figure("lookup", "a lookup of a random promotion of a part that is in memory", "ns", r.OursMore["ns"], nil)
		})
		if err != nil {
			return err
		}
		ns, err := lookups.Waiting(ctx, t.File)
		if err != nil {
			return err
		}
		figure("lookup-disk", "a lookup of a random promotion, one at a time, from the disk", "ns", ns, nil)
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

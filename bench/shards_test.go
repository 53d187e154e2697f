package bench

import (
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/bench/peer"
)

// BenchmarkShards measures generations of 16 shards against unsharded ones: builds,
// GET and batches; how even the shards are; and the time in which the servers of four
// groups change to a new generation.
func BenchmarkShards(b *testing.B) {
	const fullRows = 100_000_000
	rows := env.rows(4_000_000)
	for _, kind := range []string{"v4", "v7"} {
		csv := env.CSV(b, kind, rows)
		run(b, "build of "+kind+" IDs, unsharded", rows, func(b *testing.B) {
			sharded := buildOn(runtime.GOMAXPROCS(0), "--shards", "16", csv)
			compareBuilds(b, rows, 6, sharded, ourBuild(csv, 0), when(rows, fullRows, Target{AtLeast: 0.95}))
		})
		must(b, os.Remove(csv))
	}
	for _, kind := range []string{"v4", "v7", "v1", "sequential", "same-prefix"} {
		run(b, "skew of "+kind+" IDs", rows, func(b *testing.B) {
			Measure(b, "last:largest/mean", func(tb testing.TB) Sample {
				return Sample{skew(tb, kind, rows, "last"), map[string]float64{"first:largest/mean": skew(tb, kind, rows, "first")}}
			}, 1, Target{})
		})
	}
	few := min(rows, 10_000_000) // both generations stay in memory
	run(b, "GET, unsharded", few, func(b *testing.B) {
		compareServers(b, few, 10, env.startSharded(b, few), env.startMapped(b, few), Target{AtLeast: 0.97})
	})
	run(b, "batches of 1000 IDs, unsharded", few, func(b *testing.B) {
		sharded, unsharded := env.startSharded(b, few), env.startMapped(b, few)
		Compare(b, Comparison{Unit: "IDs/s", Rounds: 10, Ours: batches(sharded, few), Peer: batches(unsharded, few)})
	})
	run(b, "switch of four groups", few, func(b *testing.B) { benchmarkSwitch(b, few) })
}

// benchmarkSwitch measures one switch of four groups with a server each: from the
// first to the last server that answers from the new generation, and from the move
// of the pin to the last.
func benchmarkSwitch(b *testing.B, rows int64) {
	dir := filepath.Join(env.Dir, "switch")
	defer os.RemoveAll(dir)
	var generations [2]string
	for i := range generations {
		generations[i] = env.buildFromPipe(b, "v4", rows, dir, "--shards", "16").Generation
	}
	pin := func(g string) {
		must(b, peer.Run(env.command("promobuild", "pin", "--data", dir, "--reason", "one switch", g)))
	}
	var servers []*Server
	var paths []string // of a promotion of each server
	digits := []string{"0-3", "4-7", "8-b", "c-f"}
	for i := range digits {
		time.Sleep(time.Second / time.Duration(len(digits))) // spreads the polls over their interval
		s := env.StartOurs(b, dir, "--access", "mmap", "--digits", digits[i])
		row := int64(0)
		for s.generation(promotion(row)) == "" {
			row++
		}
		servers, paths = append(servers, s), append(paths, promotion(row))
	}
	Measure(b, "first-to-last-ms", func(tb testing.TB) Sample {
		pin(generations[0])
		for i, s := range servers {
			s.wait(tb, func() bool {
				return s.generation(paths[i]) == generations[0] && s.Metric(tb, "promoserve_newest_verified") == 1
			})
		}
		pin(generations[1])
		start := time.Now()
		times := make([]time.Duration, len(servers))
		var g errgroup.Group
		for i, s := range servers {
			g.Go(func() error {
				s.wait(tb, func() bool { return s.generation(paths[i]) == generations[1] })
				times[i] = time.Since(start)
				return nil
			})
		}
		must(tb, g.Wait())
		last := slices.Max(times)
		return Sample{1e3 * (last - slices.Min(times)).Seconds(), map[string]float64{"pin-to-last-ms": 1e3 * last.Seconds()}}
	}, 9, Target{AtMost: 1000})
}

// generation returns the generation that answers 200 to a path, or "".
func (s *Server) generation(path string) string {
	status, header, _, err := s.Get(path)
	if err != nil || status != http.StatusOK {
		return ""
	}
	return header.Get("X-Promotions-Generation")
}

// wait waits for an event at a server, for a minute.
func (s *Server) wait(tb testing.TB, happened func() bool) {
	for deadline := time.Now().Add(time.Minute); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Errorf("%s: not within a minute", s.cmd.Path)
			return
		}
	}
}

// skew returns the records of the largest of 16 shards, divided by their mean.
func skew(tb testing.TB, kind string, rows int64, rule string) float64 {
	dir := filepath.Join(env.Dir, "skew")
	defer os.RemoveAll(dir)
	s := env.buildFromPipe(tb, kind, rows, dir, "--shards", "16", "--shard-by", rule)
	return s.LargestShard.Records * s.Shards / s.Records
}

// startSharded starts promoserve on a generation of 16 shards.
func (e *Env) startSharded(tb testing.TB, rows int64) *Server {
	dir, _ := e.Generation(tb, "v4", rows, "--shards", "16")
	return e.StartOurs(tb, dir, "--access", "mmap")
}

// TestShards checks that a server of 16 shards gives the same answers as one of an
// unsharded generation, and that it has every kind of skew that the suite reports.
func TestShards(t *testing.T) {
	const rows = 3000
	sharded, unsharded := env.startSharded(t, rows), env.startMapped(t, rows)
	sharded.check(t, unsharded, rows)
	for _, s := range []Subject{batches(sharded, rows), batches(unsharded, rows)} {
		if s(t).Value <= 0 {
			t.Error("no batches")
		}
	}
	if even, uneven := skew(t, "v7", rows, "last"), skew(t, "v7", rows, "first"); even > 2 || uneven != 16 {
		t.Errorf("the largest shard of v7 has %.2f times the mean by the last digit and %.2f times by the first", even, uneven)
	}
}

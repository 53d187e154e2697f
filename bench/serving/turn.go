package serving

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
)

// The load that all servers get.
const (
	connections = 64
	misses      = 0.01
	turnLen     = 500 * time.Millisecond
	halfLen     = 1 * time.Second // of the load at half the rate
)

// threads is those of the client: with fewer than processors, not all are busy.
var threads = min(runtime.NumCPU(), connections)

// A driver puts load on servers.
type driver struct {
	program load.Program
	rows    int64
}

// load asks s for d as fast as it answers, or at a rate. Any failed request is
// an error.
func (d *driver) load(ctx context.Context, s *server, kind load.Kind, length time.Duration, rate float64) (load.Result, error) {
	r, err := d.program.Run(ctx, load.Options{
		Addr: s.addr, Kind: kind, Rows: d.rows, Connections: connections, Threads: threads,
		Duration: length, Misses: misses, Constant: s.constant, Rate: rate,
	})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", s.name, err)
	}
	return r, err
}

// contestant is s under full load. Before its first turn comes one that does
// not count.
func (d *driver) contestant(s *server) contest.Contestant {
	warm := false
	return contest.Contestant{Name: s.name, Setup: s.setup, Run: func(ctx context.Context) (contest.Sample, error) {
		if !warm {
			if _, err := d.load(ctx, s, s.kind, turnLen, 0); err != nil {
				return contest.Sample{}, err
			}
			warm = true
		}
		r, cpu, err := d.timed(ctx, s, s.kind)
		if err != nil {
			return contest.Sample{}, err
		}
		return sampleOf(r, cpu), nil
	}}
}

// half adds to each result how its server is under half of the load that it
// had: the medians of some turns, A B A B.
func (d *driver) half(ctx context.Context, r *contest.Result, ours, theirs *server) error {
	const rounds = 5
	var a, b latencies
	for range rounds {
		if err := a.add(ctx, d, ours, r.Ours/2); err != nil {
			return err
		}
		if err := b.add(ctx, d, theirs, r.Theirs/2); err != nil {
			return err
		}
	}
	a.medians(r.OursMore)
	b.medians(r.PeerMore)
	return nil
}

// latencies are those of some turns, in µs.
type latencies struct{ p50, p99, p999 []float64 }

func (l *latencies) add(ctx context.Context, d *driver, s *server, rate float64) error {
	r, err := d.load(ctx, s, s.kind, halfLen, rate)
	if err != nil {
		return err
	}
	l.p50, l.p99, l.p999 = append(l.p50, r.P50), append(l.p99, r.P99), append(l.p999, r.P999)
	return nil
}

func (l *latencies) medians(more map[string]float64) {
	more["half-p50-µs"] = contest.Median(l.p50)
	more["half-p99-µs"] = contest.Median(l.p99)
	more["half-p99.9-µs"] = contest.Median(l.p999)
}

// timed is a turn of full load, and the processor time that s used for it, in
// seconds.
func (d *driver) timed(ctx context.Context, s *server, kind load.Kind) (load.Result, float64, error) {
	before, err := s.cpuSeconds()
	if err != nil {
		return load.Result{}, 0, err
	}
	r, err := d.load(ctx, s, kind, turnLen, 0)
	if err != nil {
		return r, 0, err
	}
	after, err := s.cpuSeconds()
	return r, after - before, err
}

func sampleOf(r load.Result, cpu float64) contest.Sample {
	return contest.Sample{
		N: float64(r.Requests), Took: time.Duration(r.Seconds * 1e9),
		More: map[string]float64{
			"p50-µs": r.P50, "p99-µs": r.P99, "p99.9-µs": r.P999,
			"cpu-s/M": cpu / float64(r.Requests) * 1e6,
		},
	}
}

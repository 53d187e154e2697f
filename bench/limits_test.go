package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"time"

	"promostore/bench/load"
	"promostore/bench/peer"
)

// BenchmarkLimits measures lookups in a file that is 8 times as large as the
// memory: against bare reads of 4 KiB by threads and by goroutines, and through
// promoserve. Then it measures the latency of requests for promotions in memory
// while other requests wait for a slow disk.
func BenchmarkLimits(b *testing.B) {
	// A process needs 48 MiB, and with less than 16 M rows this is more than an
	// eighth of the file.
	const clients, leastMemory, readTime = 64, 48 << 20, 3 * time.Second
	rows := env.rows(16_000_000)
	dir, path := env.Generation(b, "v4", rows)
	memory := max(int64(diskUse(b, path))/8, leastMemory)

	reads := func(o peer.ReadOptions) Subject {
		o.File, o.Rows, o.Clients, o.Time = path, rows, clients, readTime
		o.Warm = memory / 4096 * 5 / 4 // the page cache is full after that
		return func(tb testing.TB) Sample {
			options, err := json.Marshal(o)
			must(tb, err)
			evict(tb, path)
			c := env.Limited(tb, memory, 0, "promopeer", "read", string(options))
			var out bytes.Buffer
			c.Stdout = &out
			must(tb, peer.Run(c))
			var r peer.ReadResult
			must(tb, json.Unmarshal(out.Bytes(), &r))
			n := float64(r.Reads)
			return Sample{n / r.Seconds, map[string]float64{"cpu-µs/lookup": r.CPUSeconds / n * 1e6, "pages/lookup": float64(r.DiskBytes) / 4096 / n}}
		}
	}
	threads := reads(peer.ReadOptions{Bare: true, Threads: true})
	run(b, "reads by threads", rows, func(b *testing.B) {
		Compare(b, Comparison{Unit: "lookups/s", Rounds: 6, Ours: reads(peer.ReadOptions{}), Peer: threads, Target: Target{AtLeast: 0.9}})
	})
	run(b, "reads by goroutines", rows, func(b *testing.B) {
		Compare(b, Comparison{Unit: "lookups/s", Rounds: 6, Ours: reads(peer.ReadOptions{}), Peer: reads(peer.ReadOptions{Bare: true}), Target: Target{AtLeast: 0.9}})
	})
	run(b, "promoserve, reads by threads", rows, func(b *testing.B) {
		Compare(b, Comparison{Unit: "lookups/s", Rounds: 3, Peer: threads, Ours: func(tb testing.TB) Sample {
			evict(tb, path)
			s := Start(tb, env.Limited(tb, memory, 0, "promoserve", ourArgs(dir, "--verify", "index")...), "/readyz")
			r := env.load(tb, s, load.Options{Rows: rows, Connections: clients, Duration: 2 * readTime})
			s.Stop(tb)
			return Sample{r.PerSecond(), latencies(r)}
		}})
	})
	run(b, "p99 in memory, beside a slow disk", rows, func(b *testing.B) {
		const hotRows, hotRate, slowReads = 1000, 5000, 1000
		s := Start(b, env.Limited(b, memory, slowReads, "promoserve", ourArgs(dir, "--verify", "index")...), "/readyz")
		hot := load.Options{Rows: hotRows, Connections: 16, Duration: 2 * time.Second, Rate: hotRate}
		cold := load.Options{Addr: s.Addr, Rows: rows, Connections: clients, Duration: 3 * time.Second}
		disk := func() float64 { return float64(peer.DiskBytes(strconv.Itoa(s.cmd.Process.Pid))) / 4096 }
		alone := func(tb testing.TB) Sample {
			evict(tb, path) // the requests for other rows are the same in each round
			env.load(tb, s, hot)
			return Sample{Value: env.load(tb, s, hot).P99}
		}
		beside := func(tb testing.TB) Sample {
			evict(tb, path)
			env.load(tb, s, hot) // brings its blocks into memory
			var slow load.Result
			done, before := make(chan error, 1), disk()
			go func() {
				var err error
				slow, err = cold.Command(tb.Context(), env.Bin+"/promopeer")
				done <- errors.Join(err, slow.Err())
			}()
			time.Sleep((cold.Duration - hot.Duration) / 2)
			r := env.load(tb, s, hot)
			must(tb, <-done)
			return Sample{r.P99, map[string]float64{"other-requests/s": slow.PerSecond(), "disk-reads/s": (disk() - before) / slow.Seconds}}
		}
		Compare(b, Comparison{Unit: "p99-µs", Rounds: 6, Ours: beside, Peer: alone, Target: Target{AtMost: 2}})
	})
}

// TestLimitedReads checks that reads in little memory work and find the
// promotions.
func TestLimitedReads(t *testing.T) {
	const rows = 5000
	_, path := env.Generation(t, "v4", rows)
	for _, o := range []peer.ReadOptions{{}, {Bare: true}, {Bare: true, Threads: true}} {
		o.File, o.Rows, o.Clients, o.Warm, o.Time = path, rows, 4, 1000, 50*time.Millisecond
		options, err := json.Marshal(o)
		must(t, err)
		c := env.Limited(t, 48<<20, 100_000, "promopeer", "read", string(options))
		var out bytes.Buffer
		c.Stdout = &out
		must(t, peer.Run(c))
		var r peer.ReadResult
		must(t, json.Unmarshal(out.Bytes(), &r))
		if r.Reads == 0 || r.Seconds < o.Time.Seconds() || r.CPUSeconds <= 0 {
			t.Errorf("%s: %+v", options, r)
		}
	}
	o := peer.ReadOptions{File: path, Rows: 2 * rows, Clients: 1, Time: time.Second}
	if r, err := peer.Read(t.Context(), o); err == nil {
		t.Errorf("absent IDs are found: %+v", r)
	}
}

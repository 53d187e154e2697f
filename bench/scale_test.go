package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/bench/peer"
	"promostore/internal/fsx"
	"promostore/internal/sysmem"
)

// BenchmarkScale measures everything for data sets of 100,000 rows and each
// power of ten from there: the build, the use of disk and memory, the start of
// a server, lookups and requests; and the verification of the largest one.
func BenchmarkScale(b *testing.B) {
	const leastRows = 100_000
	last := env.rows(10_000_000)
	for rows := min(leastRows, last); rows <= last; rows *= 10 {
		benchmarkScale(b, rows, rows*10 > last)
	}
}

func benchmarkScale(b *testing.B, rows int64, largest bool) {
	const billion, buildMemory, headroom = 1_000_000_000, 2 << 30, 64 << 20
	dir := filepath.Join(env.Dir, fmt.Sprintf("scale-%d", rows))
	defer os.RemoveAll(dir)
	free, err := fsx.Free(env.Dir)
	must(b, err)
	if rows*40 > free {
		b.Logf("%d rows need %d MiB of disk; %d MiB are free", rows, rows*40>>20, free>>20)
		return
	}

	var s summary
	run(b, "build from a pipe", rows, func(b *testing.B) {
		Measure(b, "rows/s", func(tb testing.TB) Sample {
			must(tb, os.RemoveAll(dir))
			stop := watchDisk(tb, env.Dir)
			start := time.Now()
			s = env.buildFromPipe(tb, "v4", rows, dir, "--memory", "2GiB")
			took := time.Since(start).Seconds()
			return Sample{float64(rows) / took, map[string]float64{
				"peak-MiB": s.PeakRSS / (1 << 20), "B/record": s.FileBytes / s.Records, "spilled-B/record": s.Spilled / s.Records, "disk/file": stop() / s.FileBytes,
			}}
		}, 1, when(rows, billion, Target{AtLeast: billion / 240.0}))
		if s.PeakRSS > buildMemory+headroom {
			b.Errorf("the build used %.0f MiB of memory", s.PeakRSS/(1<<20))
		}
	})
	if s.Records == 0 {
		return // the build was not selected
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	must(b, err)
	path := files[0]
	fits := int64(s.FileBytes) < sysmem.Total()/2
	run(b, "ready, index verified", rows, func(b *testing.B) {
		Measure(b, "s", func(tb testing.TB) Sample {
			server := env.StartOurs(tb, dir, "--verify", "index")
			defer server.Stop(tb)
			heap := server.Metric(tb, "go_memstats_heap_inuse_bytes")
			return Sample{server.Ready.Seconds(), map[string]float64{"heap-MiB": heap / (1 << 20)}}
		}, 3, when(rows, billion, Target{AtMost: 1}))
	})
	run(b, "ready, file verified", rows, func(b *testing.B) {
		Measure(b, "s", func(tb testing.TB) Sample {
			server := env.StartOurs(tb, dir)
			defer server.Stop(tb)
			o := getLoad(rows)
			o.Duration = 3 * time.Second
			r := env.load(tb, server, o)
			heap := server.Metric(tb, "go_memstats_heap_inuse_bytes")
			return Sample{server.Ready.Seconds(), map[string]float64{"requests/s": r.PerSecond(), "p99-µs": r.P99, "heap-MiB": heap / (1 << 20)}}
		}, 3, Target{})
	})
	run(b, "lookup, one random read", rows, func(b *testing.B) {
		size := sysmem.Total()
		if !fits {
			size /= 4 // records in the middle of the file, which stay in memory
		}
		f := openPath(b, path, size)
		compareLookups(b, "ns/lookup", 9, f.ours(b), f.floor(b), when(rows, billion, Target{AtMost: 1.5}))
	})
	if !largest {
		return
	}
	verify := func(before func(testing.TB, string), read func(testing.TB)) Subject {
		return func(tb testing.TB) Sample {
			before(tb, path)
			start := time.Now()
			read(tb)
			return Sample{Value: s.FileBytes / 1e6 / time.Since(start).Seconds()}
		}
	}
	ours := func(tb testing.TB) { must(tb, peer.Run(env.command("promobuild", "verify", path))) }
	floor := func(tb testing.TB) { readAll(tb, path) }
	run(b, "verify from the disk, one thread that reads", rows, func(b *testing.B) {
		Compare(b, Comparison{Unit: "MB/s", Rounds: 3, Ours: verify(evict, ours), Peer: verify(evict, floor), Target: when(rows, billion, Target{AtLeast: 0.8})})
	})
	if fits {
		nothing := func(testing.TB, string) {}
		run(b, "verify from memory, one thread that reads", rows, func(b *testing.B) {
			Compare(b, Comparison{Unit: "MB/s", Rounds: 6, Ours: verify(nothing, ours), Peer: verify(nothing, floor)})
		})
	}
}

// watchDisk watches the free space of a file system. stop returns the largest
// use since the call, in bytes. Other programs must not write to it.
func watchDisk(tb testing.TB, dir string) (stop func() float64) {
	first, err := fsx.Free(dir)
	must(tb, err)
	done, peak := make(chan bool), make(chan float64)
	go func() {
		least := first
		for {
			if free, err := fsx.Free(dir); err == nil {
				least = min(least, free)
			}
			select {
			case <-done:
				peak <- float64(first - least)
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() float64 {
		close(done)
		return <-peak
	}
}

package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/bench/peer"
	"promostore/format"
	"promostore/internal/sysmem"
)

// BenchmarkBuild measures builds from a CSV in the page cache until the result
// is on the disk: against GNU sort and DuckDB, against stores that are loaded,
// against reading the input and writing the output, in too little memory, and with
// IDs that are not random.
func BenchmarkBuild(b *testing.B) {
	const fullRows, storeRows, leastMemory = 20_000_000, 2_000_000, 64 << 20
	rows := env.rows(4_000_000)
	csv := env.CSV(b, "v4", rows)
	run(b, "GNU sort", rows, func(b *testing.B) {
		memory := min(4<<30, sysmem.Total()/4)
		compareBuilds(b, rows, 6, ourBuild(csv, 0), sortBuild(csv, memory), when(rows, fullRows, Target{AtLeast: 10}))
	})
	run(b, "DuckDB", rows, func(b *testing.B) {
		compareBuilds(b, rows, 6, ourBuild(csv, 0), peerBuild("DuckDB", csv), when(rows, fullRows, Target{AtLeast: 5}))
	})
	run(b, "reading and writing", rows, func(b *testing.B) {
		compareBuilds(b, rows, 6, ourBuild(csv, 0), floorBuild(csv, rows), Target{})
	})

	few := min(rows, storeRows)
	small := env.CSV(b, "v4", few)
	for _, name := range []string{"SQLite", "bbolt", "Pebble"} {
		run(b, name, few, func(b *testing.B) {
			compareBuilds(b, few, 6, ourBuild(small, 0), peerBuild(name, small), Target{})
		})
	}
	run(b, "MariaDB", few, func(b *testing.B) {
		m := startMariaDB(b)
		compareBuilds(b, few, 3, ourBuild(small, 0), func(tb testing.TB, path string) map[string]float64 {
			must(tb, m.Load(tb.Context(), small, "promotions"))
			n, err := m.TableBytes("promotions")
			must(tb, err)
			return map[string]float64{"B/record": float64(n) / float64(few)}
		}, Target{})
	})

	for _, kind := range []string{"v7", "sequential", "same-prefix"} {
		uneven := env.CSV(b, kind, rows)
		run(b, kind+" IDs in memory", rows, func(b *testing.B) {
			compareBuilds(b, rows, 9, ourBuild(uneven, 0), ourBuild(csv, 0), Target{AtLeast: 0.7})
		})
		run(b, kind+" IDs spilled", rows, func(b *testing.B) {
			memory := max(rows*format.RecordLen/4, leastMemory)
			compareBuilds(b, rows, 6, ourBuild(uneven, memory), ourBuild(csv, memory), Target{AtLeast: 0.7})
		})
		must(b, os.Remove(uneven))
	}

	// Five times the rows, in 512 MiB for 100 M rows.
	many := 5 * rows
	memory := max(many*512<<20/100_000_000, leastMemory)
	large := env.CSV(b, "v4", many)
	readAll(b, large)
	in := fmt.Sprintf("in %d MiB, ", memory>>20)
	run(b, in+"all the memory", many, func(b *testing.B) {
		all := max(sysmem.Total()/4, min(many*64, sysmem.Total()/2))
		compareBuilds(b, many, 3, ourBuild(large, memory), ourBuild(large, all), when(rows, fullRows, Target{AtLeast: 0.6}))
	})
	run(b, in+"GNU sort with as much", many, func(b *testing.B) {
		compareBuilds(b, many, 3, ourBuild(large, memory), sortBuild(large, memory), when(rows, fullRows, Target{AtLeast: 15}))
	})
	must(b, os.Remove(large))
}

// A build writes a file or a directory to path, and returns metrics.
type build func(tb testing.TB, path string) map[string]float64

func compareBuilds(b *testing.B, rows int64, rounds int, ours, theirs build, target Target) {
	Compare(b, Comparison{Unit: "rows/s", Rounds: rounds, Target: target, Ours: timed(rows, ours), Peer: timed(rows, theirs)})
}

// timed measures a build until its result is on the disk, and removes the
// result.
func timed(rows int64, f build) Subject {
	return func(tb testing.TB) Sample {
		dir, err := os.MkdirTemp(env.Dir, "build-")
		must(tb, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "out")
		syscall.Sync() // the data of others
		start := time.Now()
		metrics := f(tb, path)
		syscall.Sync()
		s := Sample{float64(rows) / time.Since(start).Seconds(), map[string]float64{}}
		if _, err := os.Stat(path); err == nil {
			s.Metrics["B/record"] = diskUse(tb, path) / float64(rows)
		}
		for unit, v := range metrics {
			s.Metrics[unit] = v
		}
		return s
	}
}

// ourBuild builds a generation with a --memory of memory bytes, or with the default
// if memory is 0.
func ourBuild(csv string, memory int64) build {
	if memory == 0 {
		return buildOn(runtime.GOMAXPROCS(0), csv)
	}
	return buildOn(runtime.GOMAXPROCS(0), "--memory", fmt.Sprintf("%dMiB", memory>>20), csv)
}

// buildOn builds a generation of files on a number of processors. Options may
// come before the files.
func buildOn(processors int, files ...string) build {
	return func(tb testing.TB, path string) map[string]float64 {
		c := env.command("promobuild", append([]string{"build", "--quiet", "--json", "--data", path}, files...)...)
		c.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", processors))
		var out bytes.Buffer
		c.Stdout = &out
		must(tb, peer.Run(c))
		var s summary
		must(tb, json.Unmarshal(out.Bytes(), &s))
		return map[string]float64{
			"peak-MiB": s.PeakRSS / (1 << 20), "spilled-MiB": s.Spilled / (1 << 20),
			"cpu-ns/row": float64(processorTime(c)) / s.Rows,
		}
	}
}

// processorTime returns the processor time of a command that has ended.
func processorTime(c *exec.Cmd) time.Duration {
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime()
}

// sortBuild sorts with GNU sort.
func sortBuild(csv string, memory int64) build {
	return func(tb testing.TB, path string) map[string]float64 {
		must(tb, peer.Sort(tb.Context(), csv, path, memory))
		return nil
	}
}

// peerBuild builds the store of a peer in a process of its own.
func peerBuild(name, csv string) build {
	return func(tb testing.TB, path string) map[string]float64 {
		c := env.command("promopeer", "build", name, csv, path)
		var out bytes.Buffer
		c.Stdout = &out
		must(tb, peer.Run(c))
		peak, err := strconv.ParseFloat(string(bytes.TrimSpace(out.Bytes())), 64)
		must(tb, err)
		return map[string]float64{"peak-MiB": peak / (1 << 20)}
	}
}

// floorBuild reads the input and writes as many bytes as a generation has, each
// processor its share. No build can do less.
func floorBuild(csv string, rows int64) build {
	blocks := (rows + format.RecordsPerBlock - 1) / format.RecordsPerBlock
	size := format.BlockOff(blocks) + blocks*(format.KeyLen+format.ChecksumLen)
	return func(tb testing.TB, path string) map[string]float64 {
		in, err := os.Open(csv)
		must(tb, err)
		defer in.Close()
		info, err := in.Stat()
		must(tb, err)
		out, err := os.Create(path)
		must(tb, err)
		defer out.Close()
		const chunk = 1 << 20
		chunks := (info.Size() + chunk - 1) / chunk
		var next atomic.Int64
		var g errgroup.Group
		for range runtime.GOMAXPROCS(0) {
			g.Go(func() error {
				buf := make([]byte, chunk)
				for i := next.Add(1) - 1; i < chunks; i = next.Add(1) - 1 {
					if n, err := in.ReadAt(buf, i*chunk); n == 0 {
						return err
					}
					if _, err := out.WriteAt(buf[:size*(i+1)/chunks-size*i/chunks], size*i/chunks); err != nil {
						return err
					}
				}
				return nil
			})
		}
		must(tb, g.Wait())
		return nil
	}
}

// startMariaDB starts a server, or skips the test if there is none.
func startMariaDB(tb testing.TB) *peer.MariaDB {
	if _, err := peer.LookPath("mariadbd"); err != nil {
		tb.Skip(err)
	}
	m, err := peer.StartMariaDB(tb.Context(), filepath.Join(env.Dir, "mariadb"))
	must(tb, err)
	tb.Cleanup(func() { must(tb, m.Close()) })
	return m
}

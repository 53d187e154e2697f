package bench

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"promostore/bench/peer"
	"promostore/internal/gunzip"
	"promostore/internal/sysmem"
)

// BenchmarkCompressed measures the decompression of gzip by processor time, and
// builds of compressed files: against plain ones, on all processors against one,
// and against peers.
func BenchmarkCompressed(b *testing.B) {
	const fullRows = 20_000_000
	rows := env.rows(4_000_000)
	csv := env.CSV(b, "v4", rows)
	few := min(rows, 4_000_000)
	small := env.CSV(b, "v4", few)
	for _, c := range []struct {
		level, peer string
		target      Target
	}{
		{"-1", "klauspost", Target{AtLeast: 4}},
		{"-6", "klauspost", Target{AtLeast: 3}},
		{"-1", "libdeflate-gunzip", Target{AtLeast: 1}},
		{"-6", "libdeflate-gunzip", Target{AtLeast: 1}},
		{"-1", "igzip", Target{}},
		{"-6", "igzip", Target{AtLeast: 0.85}},
	} {
		run(b, "decompress gzip "+c.level+", "+c.peer, few, func(b *testing.B) {
			z := env.Compressed(b, small, ".gz", "gzip", c.level)
			Compare(b, Comparison{Unit: "MB/cpu-s", Rounds: 7, Target: c.target, Ours: decompress(z, "gunzip"), Peer: decompress(z, c.peer)})
		})
	}

	processors := runtime.GOMAXPROCS(0)
	gzipped := func(b *testing.B) string { return env.Compressed(b, csv, ".gz", "gzip", "-1") }
	run(b, "processor time of gzip -1, plain", rows, func(b *testing.B) {
		Compare(b, Comparison{
			Unit: "cpu-ns/row", Rounds: 7, Target: Target{AtMost: 1.9},
			Ours: byProcessorTime(rows, ourBuild(gzipped(b), 0)), Peer: byProcessorTime(rows, ourBuild(csv, 0)),
		})
	})
	run(b, "gzip -1, plain", rows, func(b *testing.B) {
		compareBuilds(b, rows, 7, ourBuild(gzipped(b), 0), ourBuild(csv, 0), Target{})
	})
	run(b, "zstd, plain", rows, func(b *testing.B) {
		zst := env.Compressed(b, csv, ".zst", "zstd", "-q")
		compareBuilds(b, rows, 7, ourBuild(zst, 0), ourBuild(csv, 0), Target{AtLeast: 0.7})
	})
	for _, c := range []struct{ name, suffix, command, option string }{
		{"8 files of gzip -1", ".gz", "gzip", "-1"},
		{"8 files of zstd", ".zst", "zstd", "-q"},
	} {
		run(b, fmt.Sprintf("%s on %d processors, on one", c.name, processors), rows, func(b *testing.B) {
			var files []string
			for _, part := range split(b, csv, 8) {
				files = append(files, env.Compressed(b, part, c.suffix, c.command, c.option))
			}
			compareBuilds(b, rows, 7, buildOn(processors, files...), buildOn(1, files...), Target{AtLeast: 1.7})
		})
	}
	run(b, fmt.Sprintf("bgzip on %d processors, on one", processors), rows, func(b *testing.B) {
		z := env.Compressed(b, csv, ".gz", "bgzip")
		compareBuilds(b, rows, 7, buildOn(processors, z), buildOn(1, z), Target{AtLeast: 1.7})
	})
	run(b, "gzip -1, DuckDB", rows, func(b *testing.B) {
		z := gzipped(b)
		compareBuilds(b, rows, 6, ourBuild(z, 0), peerBuild("DuckDB", z), when(rows, fullRows, Target{AtLeast: 2}))
	})
	run(b, "gzip -1, gzip and GNU sort", rows, func(b *testing.B) {
		z := gzipped(b)
		memory := min(4<<30, sysmem.Total()/4)
		compareBuilds(b, rows, 6, ourBuild(z, 0), sortBuild(z, memory), when(rows, fullRows, Target{AtLeast: 5}))
	})

	made, err := filepath.Glob(filepath.Join(env.Dir, "*.csv*-*"))
	must(b, err)
	for _, file := range made {
		must(b, os.Remove(file))
	}
}

// split divides a CSV into files of whole lines.
func split(tb testing.TB, csv string, parts int64) (files []string) {
	in, err := os.Open(csv)
	must(tb, err)
	defer in.Close()
	info, err := in.Stat()
	must(tb, err)
	r := bufio.NewReaderSize(in, 1<<20)
	for i := range parts {
		path := fmt.Sprintf("%s-%d", csv, i)
		out, err := os.Create(path)
		must(tb, err)
		if i == parts-1 {
			_, err = io.Copy(out, r)
		} else if _, err = io.CopyN(out, r, info.Size()/parts); err == nil {
			var line []byte
			if line, err = r.ReadBytes('\n'); err == nil {
				_, err = out.Write(line)
			}
		}
		must(tb, errors.Join(err, out.Sync(), out.Close()))
		files = append(files, path)
	}
	return files
}

// byProcessorTime measures the processor time of a build of ours.
func byProcessorTime(rows int64, f build) Subject {
	inTime := timed(rows, f)
	return func(tb testing.TB) Sample {
		s := inTime(tb)
		return Sample{s.Metrics["cpu-ns/row"], map[string]float64{"rows/s": s.Value}}
	}
}

// decompress measures the processor time for each byte of data: that of this
// thread for a package, that of a process for a command.
func decompress(z, decompressor string) Subject {
	return func(tb testing.TB) Sample {
		in, err := os.Open(z)
		must(tb, err)
		defer in.Close()
		var size int64
		var spent time.Duration
		switch decompressor {
		case "gunzip", "klauspost":
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := threadTime(tb)
			size = decompressed(tb, in, decompressor)
			spent = threadTime(tb) - start
		default:
			program, err := peer.LookPath(decompressor)
			if err != nil {
				tb.Skip(err)
			}
			c := exec.Command(program, "-d", "-c")
			c.Stdin = in
			size = sizeOf(tb, z)
			must(tb, peer.Run(c))
			spent = processorTime(c)
		}
		return Sample{Value: float64(size) / 1e6 / spent.Seconds()}
	}
}

// decompressed decompresses a file with a package, and returns the size of the
// data.
func decompressed(tb testing.TB, in io.Reader, decompressor string) (size int64) {
	var r io.Reader
	if decompressor == "gunzip" {
		z := gunzip.NewReader(in)
		must(tb, z.Next())
		r = z
	} else {
		z, err := gzip.NewReader(bufio.NewReaderSize(in, 64<<10))
		must(tb, err)
		r = z
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if size += int64(n); err == io.EOF { //nolint:errorlint // a wrapped EOF is an error
			return size
		}
		must(tb, err)
	}
}

// sizes has the size of the data of each compressed file.
var sizes = map[string]int64{}

func sizeOf(tb testing.TB, z string) int64 {
	if sizes[z] == 0 {
		in, err := os.Open(z)
		must(tb, err)
		defer in.Close()
		sizes[z] = decompressed(tb, in, "gunzip")
	}
	return sizes[z]
}

// threadTime returns the processor time of the thread.
func threadTime(tb testing.TB) time.Duration {
	var now unix.Timespec
	must(tb, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now))
	return time.Duration(now.Nano())
}

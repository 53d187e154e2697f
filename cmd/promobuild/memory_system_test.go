//go:build system

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"promostore/builder"
	"promostore/internal/synth"
)

// A build of 20 M rows, five times as many as fit into its memory, stays within that
// memory for every kind of key. Its file is the same as with ample memory.
func TestBuildStaysWithinMemory(t *testing.T) {
	const rows, memory = 20_000_000, 128 << 20
	for _, keys := range []string{"v4", "v7", "v1", "sequential", "same-prefix"} {
		t.Run(keys, func(t *testing.T) {
			small := buildGenerated(t, keys, "20000000", "128MiB")
			if small.Records != rows || small.SpilledBytes == 0 {
				t.Errorf("%d records, %d bytes spilled", small.Records, small.SpilledBytes)
			}
			if limit := int64(memory + 64<<20); small.PeakRSSBytes > limit {
				t.Errorf("peak memory %d bytes, more than %d", small.PeakRSSBytes, limit)
			}
			large := buildGenerated(t, keys, "20000000", "2GiB")
			if large.SpilledBytes != 0 {
				t.Errorf("%d bytes spilled with 2 GiB", large.SpilledBytes)
			}
			if out, err := exec.Command("cmp", small.File, large.File).CombinedOutput(); err != nil {
				t.Errorf("the files differ: %v: %s", err, out)
			}
			if out, err := exec.Command("promobuild", "verify", small.File).CombinedOutput(); err != nil {
				t.Errorf("verify: %v: %s", err, out)
			}
			t.Logf("128 MiB: %.2f s, peak %d MiB; 2 GiB: %.2f s", small.Seconds, small.PeakRSSBytes>>20, large.Seconds)
		})
	}
}

// The most shards stay within the least memory, also if they are compared with a
// live generation of another sharding.
func TestMostShardsStayWithinMemory(t *testing.T) {
	const rows, memory = 6_000_000, 64 << 20
	data := t.TempDir()
	csv := filepath.Join(t.TempDir(), "rows.csv")
	f, err := os.Create(csv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Rows: rows}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--shards", "16"},
		{"--shards", "4096", "--max-removed", "1"},
		{"--shards", "4096", "--shard-by", "first", "--max-removed", "1"},
	} {
		out, err := exec.Command("promobuild", append([]string{"build", "--json", "--quiet", "--data", data, "--memory", "64MiB", "--workers", "4", csv}, args...)...).Output()
		var sum builder.Summary
		if err != nil || json.Unmarshal(out, &sum) != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		if sum.Records != rows || sum.SpilledBytes == 0 || sum.PeakRSSBytes > memory+64<<20 || len(args) > 2 && sum.Comparison.Unchanged != rows {
			t.Errorf("%v: summary %s", args, out)
		}
		t.Logf("%v: peak %d MiB", args, sum.PeakRSSBytes>>20)
	}
	if out, err := exec.Command("promobuild", "verify", data).CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

// Compressed files that are read at the same time stay within the memory, also
// with the largest windows.
func TestCompressedFilesStayWithinMemory(t *testing.T) {
	const numFiles, rows = 12, 150_000 // more than a window of 8 MiB in each file
	dir := t.TempDir()
	paths := map[string][]string{}
	for i := range numFiles {
		csv, err := exec.Command("promobuild", "generate", "--rows", strconv.Itoa(rows), "--seed", strconv.Itoa(i+1)).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, ext := range []string{".gz", ".zst"} {
			var b bytes.Buffer
			var w io.WriteCloser = gzip.NewWriter(&b)
			if ext == ".zst" {
				if w, err = zstd.NewWriter(&b, zstd.WithWindowSize(8<<20)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.Write(csv); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, strconv.Itoa(i)+".csv"+ext)
			if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			paths[ext] = append(paths[ext], path)
		}
	}
	for ext, inputs := range paths {
		for _, memory := range []int64{64 << 20, 256 << 20, 1 << 30} {
			sum := buildQuietly(t, append([]string{"--memory", strconv.FormatInt(memory, 10) + "B", "--workers", "16"}, inputs...)...)
			if limit := memory + 64<<20; sum.Records != numFiles*rows || sum.PeakRSSBytes > limit {
				t.Errorf("%s, %d MiB: %d records, peak memory %d bytes, limit %d", ext, memory>>20, sum.Records, sum.PeakRSSBytes, limit)
			}
			t.Logf("%s, %d MiB: peak %d MiB, %.2f s", ext, memory>>20, sum.PeakRSSBytes>>20, sum.Seconds)
		}
	}
}

// Millions of bad rows and many workers stay within the memory too.
func TestBadRowsStayWithinMemory(t *testing.T) {
	input := filepath.Join(t.TempDir(), "bad.csv")
	if err := os.WriteFile(input, bytes.Repeat([]byte("x\n"), 20_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := buildQuietly(t, "--memory", "64MiB", "--workers", "64", "--max-bad-rows", "20000000", "--allow-empty", input)
	if limit := int64(128 << 20); sum.BadRows != 20_000_000 || sum.PeakRSSBytes > limit {
		t.Errorf("%d bad rows in %d bytes of memory, limit %d", sum.BadRows, sum.PeakRSSBytes, limit)
	}
}

// buildQuietly runs promobuild build with args in a directory of its own and
// returns the summary.
func buildQuietly(t *testing.T, args ...string) builder.Summary {
	t.Helper()
	build := exec.Command("promobuild", append([]string{"build", "--json", "--quiet", "--data", filepath.Join(t.TempDir(), "data")}, args...)...)
	out, err := build.Output()
	if err != nil {
		t.Fatal(err)
	}
	var sum builder.Summary
	if err := json.Unmarshal(out, &sum); err != nil {
		t.Fatal(err)
	}
	return sum
}

// buildGenerated pipes the output of generate into build.
func buildGenerated(t *testing.T, keys, rows, memory string) builder.Summary {
	t.Helper()
	generate := exec.Command("promobuild", "generate", "--rows", rows, "--seed", "1", "--keys", keys)
	build := exec.Command("promobuild", "build", "--json", "--data", filepath.Join(t.TempDir(), "data"),
		"--generation", "20260101T000000000Z", "--memory", memory, "-")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	generate.Stdout, generate.Stderr = w, &errs
	build.Stdin, build.Stdout, build.Stderr = r, &out, &errs
	for _, cmd := range []*exec.Cmd{generate, build} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{generate, build} {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%s: %v: %s", cmd.Args[1], err, &errs)
		}
	}
	var sum builder.Summary
	if err := json.Unmarshal(out.Bytes(), &sum); err != nil {
		t.Fatal(err)
	}
	return sum
}

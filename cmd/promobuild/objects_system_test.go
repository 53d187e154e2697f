//go:build system

package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"

	"promostore/internal/objecttest"
)

// A real server gives the same generations, inputs and errors as the one in the
// process of other tests.
func TestBuildOfRealServer(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *objecttest.Server){
		"bytes": func(t *testing.T, s *objecttest.Server) { testBuildMatchesFiles(t, s) }, "patterns": testPatterns, "replaced": testObjectReplaced,
	} {
		t.Run(name, func(t *testing.T) {
			server := objecttest.Gateway(t)
			fill(t, server)
			test(t, server)
		})
	}
}

// Objects that are read at the same time stay within the memory, plain ones and
// those with the largest windows.
func TestObjectsStayWithinMemory(t *testing.T) {
	const numObjects, rows = 12, 150_000 // more than a window of 8 MiB in each
	server := bucketOf(t)
	contents := map[string][]byte{}
	for i := range numObjects {
		csv, err := exec.Command("promobuild", "generate", "--rows", strconv.Itoa(rows), "--seed", strconv.Itoa(i+1)).Output()
		if err != nil {
			t.Fatal(err)
		}
		contents[fmt.Sprintf("plain/%d.csv", i)] = csv
		w, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20))
		if err != nil {
			t.Fatal(err)
		}
		contents[fmt.Sprintf("zstd/%d.csv.zst", i)] = w.EncodeAll(csv, nil)
		w.Close()
	}
	put(t, server.Options(), contents)
	for _, pattern := range []string{"plain/0.csv", "plain/*", "zstd/*"} {
		want := int64(numObjects * rows)
		if pattern == "plain/0.csv" {
			want = rows
		}
		for _, memory := range []int64{64 << 20, 256 << 20, 1 << 30} {
			args := []string{"--memory", strconv.FormatInt(memory, 10) + "B", "--workers", "16"}
			for range 5 { // 9 M rows, which do not fit into 256 MiB
				args = append(args, "s3://bucket/"+pattern)
			}
			sum := buildQuietly(t, args...)
			if limit := memory + 64<<20; sum.Records != want || sum.PeakRSSBytes > limit {
				t.Errorf("%s, %d MiB: %d records, peak memory %d bytes, limit %d", pattern, memory>>20, sum.Records, sum.PeakRSSBytes, limit)
			}
			t.Logf("%s, %d MiB: peak %d MiB, %.2f s", pattern, memory>>20, sum.PeakRSSBytes>>20, sum.Seconds)
		}
	}
}

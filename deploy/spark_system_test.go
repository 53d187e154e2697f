//go:build system

package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	storage "promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
)

func TestSpark(t *testing.T) {
	c := startSpark(t)
	t.Run("BadRowFailsOnce", c.testBadRow)
	t.Run("RepeatsAndCopiesTasks", c.testRepeats)
	t.Run("LosesWorker", c.testLostWorker)
}

// A bad row fails the job at the first attempt of its split. The other running split
// is ended with its process.
func (c *sparkCluster) testBadRow(t *testing.T) {
	parts, id := smallParts(t), generation.IDOf(time.Now())
	f, err := os.OpenFile(parts[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(f, "d431e6be-7538-49ab-bd94-cfd297c66b8e,free,2018-06-04 06:01:20 +0200 CEST"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	hung := filepath.Join(t.TempDir(), "pid")
	promobuild := wrap(t, fmt.Sprintf(`
		if [ "$task" = split-1 ]; then echo $$ >'%[1]s.new'; mv '%[1]s.new' '%[1]s'; exec sleep 1000; fi
		if [ "$task" = split-0 ]; then until [ -e '%[1]s' ]; do sleep 0.1; done; fi`, hung))
	args := []string{"--work", t.TempDir(), "--out", t.TempDir(), "--generation", id.String(), "--split-size", "64KiB"}
	output, code := c.submit(t, promobuild, nil, append(args, parts...)...).wait(t)
	if want := parts[0] + ":801:38: "; code != 3 || !strings.Contains(output, want) {
		t.Errorf("exit code %d, want 3; want a line with %q:\n%s", code, want, output)
	}
	if n := c.attempts(t, id, "split", 0); n != 1 {
		t.Errorf("%d attempts of the split with the bad row", n)
	}
	text, err := os.ReadFile(hung)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the process of the other split ends", func() bool { return !isRunning(pid) })
}

// Spark repeats a task that fails, and runs a copy of one that hangs. The process
// that hangs is ended during the job: a merge waits for that.
func (c *sparkCluster) testRepeats(t *testing.T) {
	parts, id, out, once := smallParts(t), generation.IDOf(time.Now()), t.TempDir(), t.TempDir()
	promobuild := wrap(t, fmt.Sprintf(`cd '%s'
		if [ "$task" = split-1 ] && mkdir hung 2>/dev/null; then echo $$ >hung/pid; exec sleep 1000; fi
		if [ "$task" = split-2 ] && mkdir failed 2>/dev/null; then exit 1; fi
		if [ "$task" = merge-3 ] && mkdir killed 2>/dev/null; then kill -KILL $$; fi
		if [ "$task" = merge-0 ]; then while grep -q . "/proc/$(cat hung/pid)/cmdline" 2>/dev/null; do sleep 0.1; done; fi`, once))
	args := []string{"--work", t.TempDir(), "--out", out, "--generation", id.String(), "--split-size", "64KiB", "--shards", "16"}
	copies := []string{"speculation=true", "speculation.quantile=0.5", "speculation.minTaskRuntime=1s"}
	if output, code := c.submit(t, promobuild, copies, append(args, parts...)...).wait(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	for index, command := range map[int]string{1: "split", 2: "split", 3: "merge"} {
		if n := c.attempts(t, id, command, index); n < 2 {
			t.Errorf("%d attempts of %s %d", n, command, index)
		}
	}
	wantSameShards(t, out, id, parts)
}

// A job succeeds although a machine is lost while it splits. The bytes are those of
// one process.
func (c *sparkCluster) testLostWorker(t *testing.T) {
	const rows, numParts = 20_000_000, 8
	server := objecttest.Gateway(t)
	server.Setenv(t) // after the start of the workers: executors get it from the driver
	began := time.Now()
	parts, id := writeParts(t, rows, numParts), generation.IDOf(time.Now())
	store, _, err := storage.Parse("s3://"+objecttest.Bucket, server.Options())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range parts {
		put(t, store, "exports/"+filepath.Base(path), path)
	}
	t.Logf("%d rows are in %d parts after %s", rows, numParts, time.Since(began).Round(time.Second))

	const bucket = "s3://" + objecttest.Bucket
	job := c.submit(t, program(t, "promobuild"), nil, "--work", bucket+"/work", "--out", bucket+"/out", "--generation", id.String(),
		"--split-size", "64MiB", "--shards", "16", bucket+"/exports/part-*.csv.gz")
	isDone := func(prefix string) bool {
		for o, err := range store.List(t.Context(), "work/"+id.String()+"/"+prefix) {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(o.Key, "/done.json") {
				return true
			}
		}
		return false
	}
	job.await(t, "a split is done", func() bool { return isDone("split-") })
	lost, index := c.workers[0].Process.Pid, 0
	job.await(t, "a split of the first worker runs", func() bool {
		for _, pid := range descendants(t, lost) {
			var isSplit bool
			if index, isSplit = splitOf(pid); !isSplit || c.attempts(t, id, "split", index) == 0 {
				continue // the worker has not yet written the line to the log
			}
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			if !isDone(fmt.Sprintf("split-%05d/", index)) {
				return true
			}
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		return false
	})
	for _, pid := range append([]int{lost}, descendants(t, lost)...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	output, code := job.wait(t)
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
	t.Logf("the job has ended after %s", time.Since(began).Round(time.Second))
	if n := c.attempts(t, id, "split", index); n < 2 {
		t.Errorf("%d attempts of split %d, which was killed", n, index)
	}
	c.wantNoSecret(t, output)
	pulled := t.TempDir()
	run(t, program(t, "promobuild"), "pull", bucket+"/out", "--data", pulled)
	wantSameShards(t, pulled, id, parts)
	t.Logf("the files are compared after %s", time.Since(began).Round(time.Second))
}

// smallParts writes six files of different rows, each of them for one split of
// 64 KiB, and returns their paths.
func smallParts(t *testing.T) (paths []string) {
	t.Helper()
	for seed := range uint64(6) {
		paths = append(paths, writeCSV(t, seed, 800))
	}
	return paths
}

// writeParts writes rows to gzip files of the same number of rows, and returns their
// paths. The last part has most ids of the first one, with other prices and dates.
func writeParts(t *testing.T, rows int64, numParts int) []string {
	t.Helper()
	paths := make([]string, numParts)
	dir := t.TempDir()
	var writers errgroup.Group
	writers.SetLimit(runtime.GOMAXPROCS(0))
	for i := range paths {
		paths[i] = filepath.Join(dir, fmt.Sprintf("part-%d.csv.gz", i))
		writers.Go(func() error {
			f, err := os.Create(paths[i])
			if err != nil {
				return err
			}
			defer f.Close()
			w, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
			if err != nil {
				return err
			}
			_, err = synth.DataSet{Keys: keys(uint64(i % (numParts - 1))), Rows: rows / int64(numParts), Duplicates: int64(1000 * i)}.WriteTo(w)
			return errors.Join(err, w.Close())
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	return paths
}

// splitOf returns the index of the split that a process of promobuild runs.
func splitOf(pid int) (index int, isSplit bool) {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	if len(args) < 2 || args[1] != "split" {
		return 0, false
	}
	index, err := strconv.Atoi(args[len(args)-1])
	return index, err == nil
}

// put writes a file as an object.
func put(t *testing.T, store storage.Store, key, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), key, f, info.Size(), storage.Always); err != nil {
		t.Fatal(err)
	}
}

// wantSameShards checks that the shards in dir are those of one process that builds a
// generation from the same inputs.
func wantSameShards(t *testing.T, dir string, id generation.ID, inputs []string) {
	t.Helper()
	want := t.TempDir()
	run(t, program(t, "promobuild"), append([]string{"build", "--quiet", "--data", want, "--shards", "16", "--generation", id.String()}, inputs...)...)
	files := newest(t, want).Files
	if len(files) != 16 {
		t.Fatalf("%d shards", len(files))
	}
	for _, path := range files {
		a, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, filepath.Base(path)))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(a, b) {
			t.Errorf("%s differs from the file of one process", filepath.Base(path))
		}
	}
}

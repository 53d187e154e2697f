package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
	"promostore/internal/tasks"
)

// A splitTest has inputs, and a place for plans.
type splitTest struct {
	url, input, temp string
}

// splitTests calls f for a directory and for a bucket.
func splitTests(t *testing.T, f func(*testing.T, *splitTest)) {
	newTest := func(t *testing.T, url string) *splitTest {
		x := &splitTest{url, filepath.Join(t.TempDir(), "a.csv"), t.TempDir()}
		var rows bytes.Buffer
		_, err := synth.DataSet{Rows: 20_000}.WriteTo(&rows)
		gentest.Must(t, err)
		gentest.Must(t, os.WriteFile(x.input, rows.Bytes(), 0o600))
		return x
	}
	t.Run("directory", func(t *testing.T) { f(t, newTest(t, filepath.Join(t.TempDir(), "site"))) })
	t.Run("S3", func(t *testing.T) {
		objecttest.New(t).Setenv(t)
		f(t, newTest(t, "s3://"+objecttest.Bucket))
	})
}

// plan makes a plan of one split.
func (x *splitTest) plan(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("promobuild", "plan", x.input, "--work", x.url+"/work", "--out", x.url+"/out", "--json").Output()
	gentest.Must(t, err)
	var p planSummary
	gentest.Must(t, json.Unmarshal(out, &p))
	return p.Plan
}

func (x *splitTest) command(plan string) *exec.Cmd {
	return exec.Command("promobuild", "split", "--plan", plan, "--index", "0", "--memory", "64MiB", "--temp-dir", x.temp)
}

// check checks that the split of a plan has all its runs if it is done.
func (x *splitTest) check(t *testing.T, plan string) (done bool) {
	t.Helper()
	s, prefix, err := objects.Parse(plan+"/split-00000/", objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL_S3")})
	gentest.Must(t, err)
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	found := map[string]objects.Object{}
	for o, err := range s.List(t.Context(), prefix) {
		gentest.Must(t, err)
		found[strings.TrimPrefix(o.Key, prefix)] = o
	}
	o, done := found["done.json"]
	if !done {
		return false
	}
	text, err := objects.ReadAll(t.Context(), s, o.Key, o.Size)
	gentest.Must(t, err)
	var d tasks.SplitDone
	gentest.Must(t, json.Unmarshal(text, &d))
	for _, f := range d.Files {
		if o := found[d.Attempt+"/"+f.Name]; o.Size != f.Size || o.ETag != f.ETag {
			t.Fatalf("run %s: %+v, want %+v", f.Name, o, f)
		}
	}
	return true
}

// left returns the names in the temporary directory.
func (x *splitTest) left(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(x.temp)
	gentest.Must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A killed split is either done, with all its runs, or not at all. The next attempt
// does it, and removes the temporary files of the killed ones.
func TestKilledSplitIsRepeated(t *testing.T) {
	splitTests(t, func(t *testing.T, x *splitTest) {
		took := complete(t, x.command(x.plan(t)))
		seen := map[bool]int{} // the split was done after the kill
		for killed := 0; killed < kills/4; {
			plan := x.plan(t)
			for range 3 {
				if kill(t, x.command(plan), took) {
					killed++
				}
				done := x.check(t, plan)
				if seen[done]++; done {
					break
				}
			}
			complete(t, x.command(plan))
			if !x.check(t, plan) {
				t.Fatal("the split is not done")
			}
			took = (took + complete(t, x.command(x.plan(t)))) / 2
			if left := x.left(t); len(left) > 0 {
				t.Fatalf("%q remain", left)
			}
		}
		t.Logf("%d kills before and %d after the split was done", seen[false], seen[true])
	})
}

// A split that SIGTERM interrupts exits with 1 and leaves no files.
func TestInterruptedSplitRemovesItsFiles(t *testing.T) {
	splitTests(t, func(t *testing.T, x *splitTest) {
		input := filepath.Join(t.TempDir(), "slow.csv")
		gentest.Must(t, os.WriteFile(input, nil, 0o600))
		x.input = input
		f, err := os.OpenFile(input, os.O_WRONLY, 0)
		gentest.Must(t, err)
		defer f.Close()
		// Enough rows that the split takes longer than the signal.
		_, err = synth.DataSet{Rows: 1_000_000}.WriteTo(f)
		gentest.Must(t, err)
		plan := x.plan(t)
		cmd := x.command(plan)
		var stderr bytes.Buffer
		pipe, err := cmd.StderrPipe()
		gentest.Must(t, err)
		gentest.Must(t, cmd.Start())
		buf := make([]byte, 4096)
		n, err := pipe.Read(buf) // the first phase has begun
		gentest.Must(t, err)
		stderr.Write(buf[:n])
		gentest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
		_, err = stderr.ReadFrom(pipe)
		gentest.Must(t, err)
		start := time.Now()
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != program.ExitFailed || !strings.Contains(stderr.String(), "interrupted; another attempt begins again") {
			t.Errorf("exits with %d after %v: %s", code, time.Since(start), &stderr)
		}
		if left := x.left(t); len(left) > 0 || x.check(t, plan) {
			t.Errorf("%q remain", left)
		}
	})
}

// Processes that do the same split at the same time all succeed.
func TestDoubledSplitsSucceed(t *testing.T) {
	splitTests(t, func(t *testing.T, x *splitTest) {
		plan := x.plan(t)
		const attempts = 3
		errs := make(chan error, attempts)
		for range attempts {
			go func() {
				if out, err := x.command(plan).CombinedOutput(); err != nil {
					errs <- fmt.Errorf("%w: %s", err, out)
					return
				}
				errs <- nil
			}()
		}
		for range attempts {
			gentest.Must(t, <-errs)
		}
		if left := x.left(t); len(left) > 0 || !x.check(t, plan) {
			t.Errorf("%q remain", left)
		}
	})
}

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/internal/synth"
)

// A process is a running build whose input stalls.
type process struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stderr *bytes.Buffer // complete after wait
	drain  chan struct{}
	data   string
	tmp    string
}

// startBuild starts a build and returns when it waits for input.
func startBuild(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{stderr: new(bytes.Buffer), drain: make(chan struct{}), data: filepath.Join(t.TempDir(), "data"), tmp: t.TempDir()}
	p.Cmd = exec.Command("promobuild", append([]string{"build", "--data", p.data, "--tmp", p.tmp, "--memory", "64MiB"}, args...)...)
	var err error
	if p.stdin, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.ProcessState == nil {
			_ = p.Process.Kill()
			_ = p.wait()
		}
	})
	first, err := bufio.NewReader(io.TeeReader(stderr, p.stderr)).ReadString('\n')
	if err != nil || !strings.HasPrefix(first, "read ") {
		t.Fatalf("the build begins with %q, %v", first, err)
	}
	go func() {
		_, _ = io.Copy(p.stderr, stderr)
		close(p.drain)
	}()
	return p
}

// feed writes more rows than the memory of the build holds. When it returns, the
// build has read all but the content of the pipe.
func (p *process) feed(t *testing.T) {
	t.Helper()
	if _, err := (synth.DataSet{Rows: 2_000_000}).WriteTo(p.stdin); err != nil {
		t.Fatal(err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds { // the spill file is unlinked; the kernel frees it with the process
		if name, _ := os.Readlink(fd); strings.HasPrefix(name, p.tmp) {
			return
		}
	}
	t.Error("nothing was spilled")
}

func (p *process) wait() error {
	<-p.drain
	return p.Wait()
}

// files returns the names in a directory, except the lock and the summaries of
// generations that are there.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		of, ok := strings.CutSuffix(name, ".summary.json")
		return ok && slices.ContainsFunc(names, func(file string) bool { return strings.HasPrefix(file, of+"-") })
	})
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// interrupt sends sig and checks that the build stops and cleans up.
func (p *process) interrupt(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() {
		t.Errorf("%v does not end the build", sig)
		_ = p.Process.Kill()
	})
	err := p.wait()
	stuck.Stop()
	if exitCode(err) != program.ExitFailed {
		t.Errorf("%v: %v, want exit code %d", sig, err, program.ExitFailed)
	}
	if !strings.Contains(p.stderr.String(), "promobuild: build: interrupted; nothing was published") {
		t.Errorf("%v: the build prints %q", sig, p.stderr)
	}
	if left := append(files(t, p.data), files(t, p.tmp)...); len(left) > 0 {
		t.Errorf("%v left %v", sig, left)
	}
}

func TestInterruptedBuildCleansUp(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Run("before the first row", func(t *testing.T) {
				startBuild(t, "-").interrupt(t, sig)
			})
			t.Run("after a spill", func(t *testing.T) {
				p := startBuild(t, "-")
				p.feed(t)
				p.interrupt(t, sig)
			})
			t.Run("named pipe without a writer", func(t *testing.T) {
				fifo := filepath.Join(t.TempDir(), "fifo")
				if err := syscall.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
				startBuild(t, fifo).interrupt(t, sig)
			})
			t.Run("rejects to a named pipe without a reader", func(t *testing.T) {
				fifo := filepath.Join(t.TempDir(), "fifo")
				if err := syscall.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
				p := startBuild(t, "--max-bad-rows", "1000000", "--rejects", fifo, "-")
				// Over one chunk, whose rejects are more than a buffer holds.
				if _, err := io.WriteString(p.stdin, strings.Repeat("bad\n", 75_000)); err != nil {
					t.Fatal(err)
				}
				p.interrupt(t, sig)
			})
		})
	}
}

// A killed build leaves a temporary file, which the next build removes.
func TestBuildAfterKilledBuildCleansUp(t *testing.T) {
	p := startBuild(t, "-")
	p.feed(t)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err == nil {
		t.Fatal("the killed build exits with 0")
	}
	if left := files(t, p.data); len(left) != 1 || !strings.HasPrefix(left[0], ".") {
		t.Errorf("the killed build left %v in the data directory, want a temporary file", left)
	}
	if left := files(t, p.tmp); len(left) > 0 {
		t.Errorf("the killed build left %v in the temporary directory", left)
	}
	rows, err := filepath.Abs("../../testdata/promotions.csv")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promobuild", "build", "--quiet", "--data", p.data, "--tmp", p.tmp, rows).CombinedOutput(); err != nil {
		t.Fatalf("the next build: %v\n%s", err, out)
	}
	if left := files(t, p.data); len(left) != 1 || !strings.HasPrefix(left[0], "promotions-") {
		t.Errorf("the next build left %v in the data directory, want a generation", left)
	}
	if left := files(t, p.tmp); len(left) > 0 {
		t.Errorf("the next build left %v in the temporary directory", left)
	}
}

// A second build of the same directory fails and does not disturb the first.
func TestConcurrentBuildIsRefused(t *testing.T) {
	p := startBuild(t, "--json", "-")
	p.feed(t)
	rejects := filepath.Join(t.TempDir(), "rejects.csv")
	if err := os.WriteFile(rejects, []byte("of the first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("promobuild", "build", "--data", p.data, "--tmp", p.tmp, "--rejects", rejects, "../../testdata/promotions.csv").CombinedOutput()
	if exitCode(err) != program.ExitFailed || !strings.Contains(string(out), "process "+strconv.Itoa(p.Process.Pid)+" is writing to "+p.data) {
		t.Errorf("the second build: %v: %s", err, out)
	}
	if text, err := os.ReadFile(rejects); string(text) != "of the first\n" {
		t.Errorf("the second build changed the rejects to %q, %v", text, err)
	}
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Fatalf("the first build: %v: %s", err, p.stderr)
	}
	if out, err := exec.Command("promobuild", "verify", p.data).CombinedOutput(); err != nil || !strings.Contains(string(out), "good: 2,000,000 records") {
		t.Errorf("verify: %v: %s", err, out)
	}
	if left := append(files(t, p.data), files(t, p.tmp)...); len(left) != 1 {
		t.Errorf("files %v, want one generation", left)
	}
}

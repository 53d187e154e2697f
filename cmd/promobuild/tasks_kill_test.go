package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

// A fleet runs the tasks of plans as processes, several at the same time, kills
// many of them, and stops some.
type fleet struct {
	t    *testing.T
	url  string // of Work and Out
	temp string
	out  transfer.Location

	want map[generation.ID]map[string]string // files of one build, by name

	mu      sync.Mutex
	killed  int
	stopped []*taskProcess
	took    time.Duration // of a task that was left alone
}

// A taskProcess is a running task.
type taskProcess struct {
	*exec.Cmd
	output *bytes.Buffer // complete after Wait
}

func newFleet(t *testing.T, url string) *fleet {
	t.Helper()
	f := &fleet{t: t, url: url, temp: t.TempDir(), want: map[generation.ID]map[string]string{}, took: 100 * time.Millisecond}
	var err error
	f.out, err = transfer.Parse(url+"/out", objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL_S3")})
	gentest.Must(t, err)
	t.Cleanup(func() {
		for _, p := range f.stopped {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
	})
	return f
}

func (f *fleet) start(args ...string) *taskProcess {
	p := &taskProcess{exec.Command("promobuild", args...), new(bytes.Buffer)}
	p.Stdout, p.Stderr = p.output, p.output
	if err := p.Start(); err != nil {
		f.t.Error(err)
		return nil
	}
	return p
}

// A fate decides about a process.
type fate int

const (
	leaveAlone fate = iota
	killAtRandom
	stopAtRandom
)

// attempt runs a command once, with a random fate. It reports whether the command
// succeeded.
func (f *fleet) attempt(args ...string) bool {
	fate := []fate{leaveAlone, leaveAlone, killAtRandom, killAtRandom, killAtRandom, killAtRandom, stopAtRandom}[rand.N(7)]
	f.mu.Lock()
	took := f.took
	if len(f.stopped) >= 8 && fate == stopAtRandom {
		fate = leaveAlone
	}
	f.mu.Unlock()
	begun := time.Now()
	p := f.start(args...)
	if p == nil {
		return true // the test has failed
	}
	if fate != leaveAlone {
		time.Sleep(rand.N(took))
	}
	switch fate {
	case killAtRandom:
		_ = p.Process.Signal(syscall.SIGKILL)
	case stopAtRandom:
		_ = p.Process.Signal(syscall.SIGSTOP)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.stopped = append(f.stopped, p)
		return false // it may have ended before
	}
	err := p.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		f.took = (3*f.took + time.Since(begun)) / 4
		return true
	case err.Error() == "signal: killed":
		f.killed++
	default:
		f.t.Errorf("%v: %v\n%s", p.Args, err, p.output)
	}
	return false
}

// do runs a command until it has succeeded, often twice at the same time.
func (f *fleet) do(args ...string) {
	for ok := false; !ok && !f.t.Failed(); {
		var other sync.WaitGroup
		var otherOK bool
		if rand.N(4) == 0 {
			other.Go(func() { otherOK = f.attempt(args...) })
		}
		ok = f.attempt(args...)
		other.Wait()
		ok = ok || otherOK
	}
}

// each does the tasks of a kind in a random order, three at the same time.
func (f *fleet) each(kind, plan string, n int) {
	var wait sync.WaitGroup
	next := make(chan int)
	for range 3 {
		wait.Go(func() {
			for i := range next {
				f.do(kind, "--plan", plan, "--index", fmt.Sprint(i), "--memory", "64MiB", "--temp-dir", f.temp)
			}
		})
	}
	for _, i := range rand.Perm(n) {
		next <- i
	}
	close(next)
	wait.Wait()
}

// inputs writes the inputs of a plan and returns their names.
func (f *fleet) inputs(id generation.ID) (names []string, local []builder.Input) {
	dir := f.t.TempDir()
	store, prefix, err := objects.Parse(f.url+"/in", objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL_S3")})
	gentest.Must(f.t, err)
	for i := range 3 {
		var text bytes.Buffer
		for range 500 + rand.N(2000) { // of the same 3,000 ids
			n := uint64(rand.N(3000)) * 0x9e3779b97f4a7c15
			fmt.Fprintf(&text, "%08x-0000-4000-8000-%012x,%d,2022-06-04 06:01:20\n", n>>32, n&0xffffffffffff, rand.N(100))
		}
		name := fmt.Sprintf("%s-%d.csv", id, i)
		path := filepath.Join(dir, name)
		gentest.Must(f.t, os.WriteFile(path, text.Bytes(), 0o644))
		local = append(local, builder.FileInput(path))
		_, err = store.Put(context.Background(), prefix+"/"+name, bytes.NewReader(text.Bytes()), int64(text.Len()), objects.Always)
		gentest.Must(f.t, err)
		names = append(names, f.url+"/in/"+name)
	}
	return names, local
}

// run plans, builds and publishes a generation.
func (f *fleet) run(id generation.ID) {
	f.t.Helper()
	names, local := f.inputs(id)
	shards := []uint32{1, 16}[rand.N(2)]
	s := format.Sharding{Rule: format.ShardLast, Shards: shards}
	if shards == 1 {
		s = format.Unsharded
	}
	dir := f.t.TempDir()
	_, err := builder.Build(context.Background(), builder.Options{Inputs: local, Dir: dir, Generation: id, Sharding: s, Memory: builder.MinMemory})
	gentest.Must(f.t, err)
	f.want[id] = generationFiles(f.t, dir)

	plan := f.url + "/work/" + id.String()
	f.do(append([]string{
		"plan", "--work", f.url + "/work", "--out", f.url + "/out", "--generation", id.String(), "--shards", fmt.Sprint(shards), "--split-size", "64KiB",
	}, names...)...)
	f.each("split", plan, f.splits(plan))
	f.each("merge", plan, int(shards))
	if f.visible(id) {
		f.t.Errorf("%s is visible before publish", id)
	}
	for published := false; !published && !f.t.Failed(); {
		published = f.attempt("publish", "--plan", plan, "--keep", "2")
		f.sweep("24h") // the attempt may have been killed after it published
		if visible := f.visible(id); visible {
			f.check()
		} else if published {
			f.t.Errorf("%s is not visible after publish", id)
		}
	}
}

// splits returns the number of splits of a plan.
func (f *fleet) splits(plan string) int {
	out, err := exec.Command("promobuild", "split", "--plan", plan, "--index", "4095").Output()
	var n int
	if _, scanErr := fmt.Sscanf(string(out), "split 4095 of %d: nothing to do", &n); err != nil || scanErr != nil {
		f.t.Fatalf("%q, %v, %v", out, err, scanErr)
	}
	return n
}

func (f *fleet) visible(id generation.ID) bool {
	visible, _, err := f.out.Generations(context.Background())
	gentest.Must(f.t, err)
	return slices.Contains(visible, id)
}

// check pulls all visible generations and compares them with those of one build.
func (f *fleet) check() {
	f.t.Helper()
	dir, err := os.MkdirTemp(f.t.TempDir(), "node")
	gentest.Must(f.t, err)
	defer os.RemoveAll(dir)
	pulled, err := f.out.Pull(context.Background(), dir, transfer.PullOptions{Keep: 100, Digits: generation.AllDigits})
	gentest.Must(f.t, err)
	got := generationFiles(f.t, dir)
	want := 0
	for _, id := range pulled.New {
		for name, text := range f.want[id] {
			if want++; got[name] != text {
				f.t.Errorf("%s differs from one build", name)
			}
		}
	}
	if len(got) != want || want == 0 {
		f.t.Errorf("a node received %d files, want %d of %v", len(got), want, pulled.New)
	}
}

// generationFiles returns the generation files in a directory by name.
func generationFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	contents := map[string]string{}
	for _, name := range files(t, dir) {
		if _, err := generation.ParseName(name); err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		gentest.Must(t, err)
		contents[name] = string(text)
	}
	return contents
}

// resume lets n stopped tasks go on until they end. They may fail if their plan was
// swept; another attempt then succeeds, or fails for good.
func (f *fleet) resume(n int) {
	f.t.Helper()
	for range min(n, len(f.stopped)) {
		p := f.stopped[0]
		f.stopped = f.stopped[1:]
		gentest.Must(f.t, p.Process.Signal(syscall.SIGCONT))
		err := p.Wait()
		if exitCode(err) == program.ExitFailed {
			p = f.start(p.Args[1:]...)
			err = p.Wait()
		}
		if code := exitCode(err); code != program.ExitDone && code != program.ExitPermanent {
			f.t.Errorf("%v: %v\n%s", p.Args, err, p.output)
		}
		f.check()
	}
}

// sweep removes the work files of all plans, and the plans that were published at least
// abandonedAfter ago.
func (f *fleet) sweep(abandonedAfter string) {
	f.t.Helper()
	if out, err := exec.Command("promobuild", "sweep", "--abandoned-after", abandonedAfter, f.url+"/work").CombinedOutput(); err != nil {
		f.t.Errorf("sweep: %v\n%s", err, out)
	}
}

// Tasks are killed more than 100 times, run twice at the same time, and go on after
// their plan was published or swept. Nodes receive only published generations, with
// the bytes of one build.
func TestKilledTasksPublishTheBytesOfOneBuild(t *testing.T) {
	const kills = 55 / killShare // for each kind of store
	test := func(t *testing.T, url string) {
		f := newFleet(t, url)
		plans := 0
		for id := generation.ID(1_795_341_600_000); f.killed < kills && !t.Failed(); id += 1000 {
			f.run(id)
			plans++
			f.resume(2)
			f.sweep([]string{"0s", "24h"}[rand.N(2)])
			f.resume(2)
		}
		f.resume(len(f.stopped))
		f.sweep("0s")
		if left := f.workFiles(); len(left) > 0 {
			t.Errorf("after the last sweep, Work has %v", left)
		}
		t.Logf("%d kills in %d plans", f.killed, plans)
	}
	t.Run("directory", func(t *testing.T) { test(t, t.TempDir()) })
	t.Run("S3", func(t *testing.T) {
		server := objecttest.New(t)
		server.Setenv(t)
		// The answers of some conditional requests that succeed are lost.
		server.Fail(objecttest.Every(4, func(r *http.Request) bool { return r.Header.Get("If-None-Match") != "" }, objecttest.Lost()))
		test(t, "s3://"+objecttest.Bucket+"/site")
	})
}

// workFiles returns the objects of Work.
func (f *fleet) workFiles() (names []string) {
	store, prefix, err := objects.Parse(f.url+"/work", objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL_S3")})
	gentest.Must(f.t, err)
	for o, err := range store.List(context.Background(), strings.TrimSuffix(prefix, "/")+"/") {
		gentest.Must(f.t, err)
		names = append(names, o.Key)
	}
	return names
}

//go:build system

// Package deploy is how the programs are run: its files are for operators, and
// its tests run each of them with the real tool.
package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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

	"promostore/format/generation"
	"promostore/internal/synth"
)

// patience is how long a test waits for what must come, also on a machine that
// is slow and busy.
const patience = 3 * time.Minute

// TestMain gives the programs, once they are built, a directory of their own.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "promostore-deploy-")
	if err != nil {
		panic(err)
	}
	binDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

var binDir string

var buildPrograms = sync.OnceValue(func() error {
	cmd := exec.Command("go", "build", "-o", binDir+"/", "../cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
})

// program is the path of promobuild or promoserve.
func program(t testing.TB, name string) string {
	t.Helper()
	if err := buildPrograms(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binDir, name)
}

// needs fails the test if one of these commands is missing.
func needs(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Fatalf("%v; make test-system installs what is missing", err)
		}
	}
}

// run runs a command to its end and returns what it prints. It must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys are the ids of the table of a seed. Tables of different seeds share none.
func keys(seed uint64) synth.Keys { return synth.Keys{Seed: seed} }

// id is the first id of a table.
func id(seed uint64) string { return string(keys(seed).At(0).AppendText(nil, false)) }

// table writes a CSV and returns its path.
func table(t testing.TB, seed uint64, rows int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "promotions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.Table{Keys: keys(seed), Rows: rows}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// build makes a generation of the table of a seed and returns the path of its
// file.
func build(t testing.TB, data string, seed uint64, rows int64) string {
	t.Helper()
	run(t, program(t, "promobuild"), "build", "--quiet", "--memory", "64MiB", "--data", data, table(t, seed, rows))
	list, err := generation.List(data)
	if err != nil || len(list) == 0 {
		t.Fatalf("after a build %s has %v, %v", data, list, err)
	}
	return list[len(list)-1].Files[0]
}

// idOf is the generation that a file's name tells.
func idOf(t testing.TB, path string) string {
	t.Helper()
	n, err := generation.ParseName(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return n.ID.String()
}

// freeAddress is an address of loopback on which nothing listens, for programs
// that cannot choose a port by themselves.
func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// waitFor calls done until it says yes.
func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// A process is a program that runs until the test ends, or stop. It leads a
// group, so that what it has started goes with it.
type process struct {
	*exec.Cmd
	exited chan struct{} // closed when it has ended, and all that write to its log

	mu  sync.Mutex
	log []string // lines of standard output and standard error
}

// start runs a program and shows what it said if the test fails.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(name, args...), exited: make(chan struct{})}
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.Stderr = w, w
	err = p.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	go func() {
		p.read(r)
		_ = p.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s:\n%s", name, strings.Join(p.log, "\n"))
		}
	})
	return p
}

func (p *process) read(r io.ReadCloser) {
	defer r.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.log = append(p.log, lines.Text())
		p.mu.Unlock()
	}
}

// signal sends a signal to the group.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.Process.Pid, sig) }

// stop sends a signal to the group and waits for the end of the process.
func (p *process) stop(sig syscall.Signal) {
	p.signal(sig)
	<-p.exited
}

// line waits for a line of the log that has text in it.
func (p *process) line(t testing.TB, text string) string {
	t.Helper()
	found, ended := "", false
	waitFor(t, fmt.Sprintf("a line with %q", text), func() bool {
		select {
		case <-p.exited:
			ended = true
		default:
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.IndexFunc(p.log, func(line string) bool { return strings.Contains(line, text) }); i >= 0 {
			found = p.log[i]
		}
		return found != "" || ended
	})
	if found == "" {
		t.Fatalf("%s ended without a line with %q", p.Path, text)
	}
	return found
}

// A server is a promoserve.
type server struct {
	*process
	url string // without a slash at the end
}

// serve runs promoserve on a port of its own, and returns when it listens.
func serve(t testing.TB, data string, flags ...string) *server {
	t.Helper()
	args := append([]string{"--data", data, "--listen", "127.0.0.1:0", "--poll", "20ms", "--drain", "0s", "--log-format", "json"}, flags...)
	p := start(t, program(t, "promoserve"), args...)
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(p.line(t, `"msg":"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	return &server{p, "http://" + line.Address}
}

// lives is the generations that went live, in turn.
func (s *server) lives(t testing.TB) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var live []string
	for _, text := range s.log {
		var line struct{ Msg, Generation string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if line.Msg == "generation live" {
			live = append(live, line.Generation)
		}
	}
	return live
}

// An answer is what came back for a request.
type answer struct {
	status     int
	generation string // what X-Promotions-Generation says
	body       string
}

// get asks for a URL.
func get(url string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("X-Promotions-Generation"), string(body)}, err
}

// waitLive waits until the server at url answers from a generation.
func waitLive(t testing.TB, url, generation string) {
	t.Helper()
	waitFor(t, url+" answers from "+generation, func() bool {
		a, err := get(url + "/promotions/" + id(0))
		return err == nil && a.generation == generation
	})
}

// tableRows is how many rows the tables of tables have at least.
const tableRows = 100_000

// A tables knows of which table each generation was made, and checks answers by
// it. The tables have the seeds 0, 1, 2, … in any order.
type tables struct {
	mu    sync.Mutex
	seeds map[string]uint64 // by generation
}

// add is called before a server has the generation, or soon after that.
func (b *tables) add(generation string, seed uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seeds == nil {
		b.seeds = map[string]uint64{}
	}
	b.seeds[generation] = seed
}

func (b *tables) seedOf(generation string) (seed uint64, known bool, count int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	seed, known = b.seeds[generation]
	return seed, known, len(b.seeds)
}

// ask has clients ask for rows of all tables until the test ends, or what it
// returns is called. No request may fail, and each must have the answer of the
// generation that it names.
func (b *tables) ask(t testing.TB, url string) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for asked := 0; ; asked++ {
				select {
				case <-end:
					if asked == 0 {
						t.Error("a client asked for nothing")
					}
					return
				default:
				}
				if err := b.askOnce(url); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(end)
		clients.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (b *tables) askOnce(url string) error {
	_, _, count := b.seedOf("")
	seed := rand.Uint64N(uint64(count))
	key := keys(seed).At(rand.Uint64N(tableRows))
	a, err := get(url + "/promotions/" + string(key.AppendText(nil, false)))
	if err != nil {
		return err
	}
	of, known, _ := b.seedOf(a.generation)
	for deadline := time.Now().Add(patience); !known && time.Now().Before(deadline); { // its maker has not called add yet
		time.Sleep(time.Millisecond)
		of, known, _ = b.seedOf(a.generation)
	}
	want := http.StatusNotFound
	if of == seed {
		want = http.StatusOK
	}
	if !known || a.status != want {
		return fmt.Errorf("generation %q of table %d answers %d for a row of table %d: %s", a.generation, of, a.status, seed, a.body)
	}
	return nil
}

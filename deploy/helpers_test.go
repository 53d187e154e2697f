// Package deploy tests the deployment files in this directory: it runs each file
// with the real program.
package deploy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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

// patience limits the time that a test waits for an event. It allows for slow and
// busy machines.
const patience = 3 * time.Minute

// TestMain creates the directory that the programs are built in.
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

// program returns the path of promobuild or promoserve, and builds them once.
func program(t testing.TB, name string) string {
	t.Helper()
	if err := buildPrograms(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binDir, name)
}

// needs fails the test if a command is missing.
func needs(t testing.TB, commands ...string) {
	t.Helper()
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Fatalf("%v; make test-system installs missing programs", err)
		}
	}
}

// run runs a command and returns its output. The command must succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys returns the ids of the data set of a seed. Data sets of different seeds
// have no id in common.
func keys(seed uint64) synth.Keys { return synth.Keys{Seed: seed} }

// id returns the first id of the data set of a seed.
func id(seed uint64) string { return string(keys(seed).At(0).AppendText(nil, false)) }

// writeCSV writes the data set of a seed to a file and returns its path.
func writeCSV(t testing.TB, seed uint64, rows int64) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "promotions.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Keys: keys(seed), Rows: rows}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// build builds a generation from the data set of a seed and returns the path of
// its file, or of its first file.
func build(t testing.TB, data string, seed uint64, rows int64, flags ...string) string {
	t.Helper()
	args := append([]string{"build", "--quiet", "--memory", "64MiB", "--data", data}, flags...)
	run(t, program(t, "promobuild"), append(args, writeCSV(t, seed, rows))...)
	return newest(t, data).Files[0]
}

// newest returns the newest generation in a directory.
func newest(t testing.TB, data string) generation.Generation {
	t.Helper()
	list, err := generation.List(data)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s has the generations %v, %v", data, list, err)
	}
	return list[len(list)-1]
}

// idOf returns the ID of the generation in a file's name.
func idOf(t testing.TB, path string) string {
	t.Helper()
	n, err := generation.ParseName(filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return n.ID.String()
}

// freeAddress returns an unused loopback address, for programs that cannot choose
// a port themselves. The kernel gives its port to no client and to no listener on
// port 0, because it is below the ephemeral ports.
//
// Until the test ends, a socket is bound to the address, so that freeAddress of another
// process does not return it. The socket does not listen and permits reuse, so a program
// that sets SO_REUSEADDR can listen there.
func freeAddress(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	for range 1000 {
		port := 11_000 + rand.IntN(19_000)
		if syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) != nil {
			continue
		}
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("127.0.0.1:%d", port)
	}
	t.Fatal("no port is free")
	return ""
}

// TestFreeAddress checks that a program can listen on the address, again after it has
// ended, and that another process does not get the address meanwhile.
func TestFreeAddress(t *testing.T) {
	address := freeAddress(t)
	for range 2 {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		conn.Close()
	}
	exclusive := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0)
		}), err)
	}}
	if _, err := exclusive.Listen(t.Context(), "tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the address is free for another process: %v", err)
	}
}

// waitFor calls done until it returns true.
func waitFor(t testing.TB, event string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", event, patience)
		}
	}
}

// A process is a program that runs until the test ends or calls stop. It leads a
// process group, so that its children are killed with it.
type process struct {
	*exec.Cmd
	exited chan struct{} // closed after the process and all writers of its log have ended

	mu  sync.Mutex
	log []string // lines of standard output and standard error
}

// start starts a program. If the test fails, it logs the output of the program.
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

// signal sends a signal to the process group.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.Process.Pid, sig) }

// suspend stops all threads of the process until it receives SIGCONT.
func (p *process) suspend(t *testing.T) {
	t.Helper()
	p.signal(syscall.SIGSTOP)
	waitFor(t, "the process is suspended", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			stat, err := os.ReadFile(thread)
			if err != nil {
				return false // the thread has ended
			}
			if _, state, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return len(threads) > 0
	})
}

// stop sends a signal to the process group and waits for the end of the process.
func (p *process) stop(sig syscall.Signal) {
	p.signal(sig)
	<-p.exited
}

// line waits for a line of the log that contains text.
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

// A server is a running promoserve.
type server struct {
	*process
	url string // without a slash at the end
}

// serve starts promoserve on an unused port and returns when it listens.
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

// startOpenUpdater starts an updater that needs no token.
func startOpenUpdater(t *testing.T, data string, flags ...string) *server {
	t.Helper()
	args := append([]string{"updater", "--data", data, "--listen", "127.0.0.1:0", "--memory", "64MiB", "--log-format", "json"}, flags...)
	p := start(t, program(t, "promobuild"), args...)
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(p.line(t, `"msg":"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	return &server{p, "http://" + line.Address}
}

// admin returns the address of the admin listener, which has port 0, as a URL without a
// slash at the end.
func (s *server) admin(t testing.TB) string {
	t.Helper()
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(s.line(t, `"msg":"admin"`)), &line); err != nil {
		t.Fatal(err)
	}
	return "http://" + line.Address
}

// address returns the host and the port of the server.
func (s *server) address() string { return strings.TrimPrefix(s.url, "http://") }

// lives returns the generations that became live, in order.
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

// An answer is the response to a request.
type answer struct {
	status     int
	generation string // X-Promotions-Generation
	body       string
}

// get requests a URL.
func get(url string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	return receive(http.DefaultClient.Do(req))
}

// receive reads the response to a request.
func receive(resp *http.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("X-Promotions-Generation"), string(body)}, err
}

// waitLive waits until the server at url serves a generation.
func waitLive(t testing.TB, url, generation string) {
	t.Helper()
	waitFor(t, url+" serves "+generation, func() bool {
		a, err := get(url + "/promotions/" + id(0))
		return err == nil && a.generation == generation
	})
}

// minRows is the least number of rows of a data set in dataSets.
const minRows = 100_000

// dataSets maps generations to the seeds of their data sets, and checks responses
// against them. The seeds are 0, 1, 2, … in any order.
type dataSets struct {
	mu    sync.Mutex
	seeds map[string]uint64 // by generation
}

// add records the seed of a generation. A caller may call it shortly after a
// server has the generation.
func (d *dataSets) add(generation string, seed uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seeds == nil {
		d.seeds = map[string]uint64{}
	}
	d.seeds[generation] = seed
}

func (d *dataSets) seedOf(generation string) (seed uint64, known bool, count int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seed, known = d.seeds[generation]
	return seed, known, len(d.seeds)
}

// ask starts clients that request promotions of all data sets until the test ends
// or stop is called. No request may fail, and every response must match the
// generation that it names.
func (d *dataSets) ask(t testing.TB, url string) (stop func()) {
	t.Helper()
	return repeat(t, func() error { return d.askOnce(url) })
}

// repeat starts clients that call request until the test ends or stop is called.
// No call may fail.
func repeat(t testing.TB, request func() error) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for asked := 0; ; asked++ {
				select {
				case <-end:
					if asked == 0 {
						t.Error("a client sent no request")
					}
					return
				default:
				}
				if err := request(); err != nil {
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

func (d *dataSets) askOnce(url string) error {
	_, _, count := d.seedOf("")
	seed := rand.Uint64N(uint64(count))
	id := keys(seed).At(rand.Uint64N(minRows)).String()
	a, err := get(url + "/promotions/" + id)
	if err != nil {
		return err
	}
	return d.check(a, seed)
}

// await returns the seed of a generation, which add may record later.
func (d *dataSets) await(generation string) (seed uint64, known bool) {
	seed, known, _ = d.seedOf(generation)
	for deadline := time.Now().Add(patience); !known && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		seed, known, _ = d.seedOf(generation)
	}
	return seed, known
}

// check checks the answer to a request for a promotion of the data set of a seed.
func (d *dataSets) check(a answer, seed uint64) error {
	of, known := d.await(a.generation)
	want := http.StatusNotFound
	if of == seed {
		want = http.StatusOK
	}
	if !known || a.status != want {
		return fmt.Errorf("generation %q of data set %d: status %d for a row of data set %d: %s", a.generation, of, a.status, seed, a.body)
	}
	return nil
}

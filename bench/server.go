package bench

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/bench/load"
	"promostore/internal/synth"
)

// Server is a server process, with the processes that it starts.
type Server struct {
	Addr     string
	Ready    time.Duration // from the start of the process to the first answer
	Constant bool          // the server gives the same answer to every request
	Database int           // process ID of its database, or 0

	cmd    *exec.Cmd
	exited chan struct{}
	output bytes.Buffer // valid when exited is closed
}

// Start starts a server and waits until it answers a GET of a path with 200.
// In the arguments, ADDRESS stands for the address. The server stops with the
// test.
func Start(tb testing.TB, c *exec.Cmd, path string) *Server {
	addr := freeAddr(tb)
	for i, arg := range c.Args {
		c.Args[i] = strings.ReplaceAll(arg, "ADDRESS", addr)
	}
	return startAt(tb, c, addr, path)
}

// freeAddr returns an address of the loopback interface that is not in use.
func freeAddr(tb testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	must(tb, ln.Close())
	return ln.Addr().String()
}

func startAt(tb testing.TB, c *exec.Cmd, addr, path string) *Server {
	s := &Server{Addr: addr, cmd: c, exited: make(chan struct{})}
	c.Stdout, c.Stderr = &s.output, &s.output
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	start := time.Now()
	must(tb, c.Start())
	go func() {
		_ = c.Wait() // the state of the process has the error
		close(s.exited)
	}()
	tb.Cleanup(func() { s.Stop(tb) })
	for {
		status, _, _, err := s.Get(path)
		if s.Ready = time.Since(start); status == http.StatusOK {
			return s
		}
		select {
		case <-s.exited:
			tb.Fatalf("%s: %v: %s", c.Path, c.ProcessState, s.output.Bytes())
		case <-time.After(time.Millisecond):
		}
		if s.Ready > 10*time.Minute {
			tb.Fatalf("%s is not ready after %v: status %d, %v", c.Path, s.Ready, status, err)
		}
	}
}

// StartOurs starts promoserve on the generations in a directory.
func (e *Env) StartOurs(tb testing.TB, dir string, flags ...string) *Server {
	return Start(tb, e.command("promoserve", ourArgs(dir, flags...)...), "/readyz")
}

func ourArgs(dir string, flags ...string) []string {
	return append([]string{"--data", dir, "--listen", "ADDRESS", "--drain", "0s", "--log-level", "warn"}, flags...)
}

// Stop ends the server, and kills it if it does not end.
func (s *Server) Stop(tb testing.TB) {
	pid := s.cmd.Process.Pid
	select {
	case <-s.exited:
		return
	default:
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		tb.Errorf("%s did not end", s.cmd.Path)
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-s.exited
	}
}

// client keeps no connection open, because a server would wait for it at its
// end.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// Get returns the answer to a GET.
func (s *Server) Get(path string) (status int, header http.Header, body string, err error) {
	res, err := client.Get("http://" + s.Addr + path)
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(text), err
}

// Metric returns the value of a metric of promoserve.
func (s *Server) Metric(tb testing.TB, name string) float64 {
	_, _, body, err := s.Get("/prometheus")
	must(tb, err)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			must(tb, err)
			return v
		}
	}
	tb.Fatalf("no metric %s", name)
	return 0
}

// cpuSeconds returns the processor time of the server and of its database so
// far.
func (s *Server) cpuSeconds(tb testing.TB) (total float64) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	must(tb, err)
	for _, path := range stats {
		text, _ := os.ReadFile(path) // none if the process has ended
		// The fields after the name, which may contain spaces; see proc_pid_stat(5).
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) < 13 || fields[2] != strconv.Itoa(s.cmd.Process.Pid) && filepath.Base(filepath.Dir(path)) != strconv.Itoa(s.Database) {
			continue
		}
		user, err1 := strconv.ParseFloat(fields[11], 64)
		system, err2 := strconv.ParseFloat(fields[12], 64)
		must(tb, errors.Join(err1, err2))
		total += (user + system) / 100 // ticks a second, on all architectures of Go
	}
	return total
}

// load sends a load in a process of its own, and fails if a request fails.
func (e *Env) load(tb testing.TB, s *Server, o load.Options) load.Result {
	o.Addr, o.Constant = s.Addr, s.Constant
	r, err := o.Command(tb.Context(), filepath.Join(e.Bin, "promopeer"))
	must(tb, err)
	must(tb, r.Err())
	return r
}

// promotion returns the path of row i of a generated data set.
func promotion(i int64) string {
	return "/promotions/" + synth.Keys{Kind: synth.KeysV4}.At(uint64(i)).String()
}

// check compares the answers of a server with those of promoserve: the body for
// IDs of the data set, and the status for others. A load checks the status and
// the ID of every answer, but not its body.
func (s *Server) check(tb testing.TB, ours *Server, rows int64) {
	same := func(row int64, wantStatus int) {
		path := promotion(row)
		status, _, body, err := s.Get(path)
		must(tb, err)
		ourStatus, _, want, err := ours.Get(path)
		must(tb, err)
		if ourStatus != wantStatus || status != ourStatus || status == http.StatusOK && body != want {
			tb.Fatalf("%s %s: %d %q, promoserve %d %q", s.cmd.Path, path, status, body, ourStatus, want)
		}
	}
	if s.Constant {
		same(0, http.StatusOK)
		return
	}
	for i := range min(50, rows) {
		same(i*rows/50, http.StatusOK)
		same(rows+i, http.StatusNotFound)
	}
}

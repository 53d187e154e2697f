package serving

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/peer"
	"promostore/internal/synth"
)

// A server is something to load.
type server struct {
	name      string
	setup     string // version and settings
	addr      string
	kind      load.Kind
	constant  bool // it has every id
	processes []*process
	database  *peer.MariaDB // behind the process, or nil
}

// stop ends the processes in the reverse order of their start.
func (s *server) stop() error {
	var err error
	for _, p := range slices.Backward(s.processes) {
		err = errors.Join(err, p.stop())
	}
	if s.database != nil {
		err = errors.Join(err, s.database.Close())
	}
	return err
}

// cpuSeconds is what the server used so far, all of it.
func (s *server) cpuSeconds() (float64, error) {
	total := 0.0
	if s.database != nil {
		_, x, err := cpuSecondsOf(fmt.Sprintf("/proc/%d/stat", s.database.PID()))
		if err != nil {
			return 0, err
		}
		total = x
	}
	for _, p := range s.processes {
		x, err := p.cpuSeconds()
		if err != nil {
			return 0, err
		}
		total += x
	}
	return total, nil
}

// newServer is a server with an address of its own, which does not run yet.
func newServer(name, setup string) (*server, error) {
	addr, err := freeAddr()
	return &server{name: name, setup: setup, kind: load.Get, addr: addr}, err
}

// run starts a process of s and waits until s listens.
func (s *server) run(ctx context.Context, env *contest.Env, path string, args ...string) error {
	p, err := start(env, s.name, path, args...)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	s.processes = append(s.processes, p)
	if err := p.listening(ctx, s.addr); err != nil {
		return errors.Join(err, s.stop())
	}
	return nil
}

// promotionPath asks for row i of a generated table.
func promotionPath(i uint64) string {
	return "/promotions/" + synth.Keys{Kind: synth.KeysV4}.At(i).String()
}

// client leaves no connection open, for which a server would wait at its end.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get is the body of the answer to a GET, which must be 200, and its header.
func (s *server) get(ctx context.Context, path string) (http.Header, string, error) {
	res, body, err := s.do(ctx, path)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: GET %s: %s: %s", s.name, path, res.Status, body)
	}
	if err != nil {
		return nil, "", err
	}
	return res.Header, body, nil
}

func (s *server) do(ctx context.Context, path string) (*http.Response, string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return nil, "", err
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// answerLen is how many bytes the answer to a GET has, head and body.
func (s *server) answerLen(ctx context.Context, path string) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	// HTTP/1.1, so that the head is that of the load; the half-closed
	// connection ends the answers.
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, s.addr); err != nil {
		return 0, err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, c)
	return int(n), err
}

// startOurs runs promoserve on the generations in dir, verified and mapped.
func startOurs(ctx context.Context, env *contest.Env, name, dir string) (*server, error) {
	s, err := newServer(name, "promoserve --access mmap")
	if err != nil {
		return nil, err
	}
	err = s.run(ctx, env, filepath.Join(env.Bin, "promoserve"),
		"--data", dir, "--listen", s.addr, "--access", "mmap", "--drain", "0s", "--log-level", "warn")
	if err != nil {
		return nil, err
	}
	err = s.processes[0].until(ctx, func() error {
		_, _, err := s.get(ctx, "/readyz")
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// metric is the value of a line of /prometheus, which begins with name.
func (s *server) metric(ctx context.Context, name string) (float64, error) {
	_, body, err := s.get(ctx, "/prometheus")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("%s: no metric %s", s.name, name)
}

// peerProgram is the command promopeer, which is built when first asked for:
// without cgo as our programs are, or as go build does.
func peerProgram(ctx context.Context, env *contest.Env, cgo bool) (string, error) {
	path := filepath.Join(env.Bin, "promopeer")
	c := exec.CommandContext(ctx, "go", "build", "-o")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if cgo {
		path, c.Env = path+"-cgo", nil
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	c.Args = append(c.Args, path, "promostore/bench/serving/cmd/promopeer")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of the peers: %w\n%s", err, out)
	}
	return path, nil
}

// moduleVersions is the versions of modules in a program.
func moduleVersions(program string, modules ...string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	list := []string{info.GoVersion}
	for _, s := range info.Settings {
		if s.Key == "CGO_ENABLED" {
			list = append(list, "CGO_ENABLED="+s.Value)
		}
	}
	for _, m := range modules {
		for _, d := range info.Deps {
			if d.Path == m {
				list = append(list, filepath.Base(m)+" "+d.Version)
			}
		}
	}
	return strings.Join(list, ", "), nil
}

// startConstant runs the floor: a fasthttp handler that sends the answer of
// ours to a GET of the first row, whatever is asked.
func startConstant(ctx context.Context, env *contest.Env, ours *server) (*server, error) {
	header, body, err := ours.get(ctx, promotionPath(0))
	if err != nil {
		return nil, err
	}
	program, err := peerProgram(ctx, env, false)
	if err != nil {
		return nil, err
	}
	versions, err := moduleVersions(program, "github.com/valyala/fasthttp")
	if err != nil {
		return nil, err
	}
	s, err := newServer("constant", versions+"; a constant answer of the same bytes, limits as in promoserve, no timeouts")
	if err != nil {
		return nil, err
	}
	s.constant = true
	return s, s.run(ctx, env, program, "-listen", s.addr,
		"-body", body, "-etag", header.Get("ETag"), "-generation", header.Get("X-Promotions-Generation"))
}

// startPeer runs the handler of promoserve over one of the stores of package
// peer. It is built with cgo where there is a compiler, since Pebble then keeps
// its cache outside of Go's heap; to bbolt it makes no difference.
func startPeer(ctx context.Context, env *contest.Env, p *peer.Peer, rows int64) (*server, error) {
	table, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	program, err := peerProgram(ctx, env, true)
	if err != nil {
		return nil, err
	}
	versions, err := moduleVersions(program, "github.com/valyala/fasthttp", p.Module)
	if err != nil {
		return nil, err
	}
	store := filepath.Join(env.Dir, fmt.Sprintf("http-%s-%d", p.Name, rows))
	if err := os.RemoveAll(store); err != nil {
		return nil, err
	}
	if err := p.Build(ctx, table, store); err != nil {
		return nil, err
	}
	s, err := newServer(p.Name, versions+"; "+p.Setup)
	if err != nil {
		return nil, err
	}
	return s, s.run(ctx, env, program, "-listen", s.addr, "-kind", p.Name, "-source", store, "-rows", strconv.FormatInt(rows, 10))
}

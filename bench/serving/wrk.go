package serving

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"promostore/bench/contest"
)

// wrkScript cycles through prepared requests, and prints what came of them in
// the end.
const wrkScript = `local requests, n, i = {}, 0, 0
function init(args)
  for path in io.lines(args[1]) do n = n + 1; requests[n] = wrk.format("GET", path) end
  i = math.random(n)
end
function request() i = i % n + 1; return requests[i] end
function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format('{"requests":%d,"us":%d,"p50":%f,"p99":%f,"p999":%f,"failed":%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    e.connect + e.read + e.write + e.timeout))
end
`

// wrkPaths is how many requests wrk gets. Each thread prepares them before it
// starts, while the first is running already: more of them make wrk look
// faster than it is.
const wrkPaths = 2000

// wrkLen is the shortest time that wrk takes as an option.
const wrkLen = time.Second

// wrk is the load generator wrk, which is at path, on s, as a contestant.
func (d *driver) wrk(ctx context.Context, env *contest.Env, path string, s *server) (contest.Contestant, error) {
	c := contest.Contestant{Name: "wrk"}
	// It prints its version and fails.
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if len(out) == 0 {
		return c, err
	}
	v, _, _ := bytes.Cut(out, []byte(" Copyright"))
	c.Setup = string(v) + "; a Lua script cycles through prepared requests"
	script, paths := filepath.Join(env.Dir, "wrk.lua"), filepath.Join(env.Dir, "wrk.paths")
	var list []byte
	for i := range uint64(min(wrkPaths, d.rows)) {
		list = append(append(list, promotionPath(i)...), '\n')
	}
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		return c, err
	}
	if err := os.WriteFile(paths, list, 0o600); err != nil {
		return c, err
	}
	c.Run = func(ctx context.Context) (contest.Sample, error) {
		wrk := exec.CommandContext(ctx, path, "-t", strconv.Itoa(threads), "-c", strconv.Itoa(connections),
			"-d", strconv.Itoa(int(wrkLen/time.Second)), "-s", script, "http://"+s.addr, paths)
		wrk.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var stderr bytes.Buffer
		wrk.Stderr = &stderr
		if err := wrk.Run(); err != nil {
			return contest.Sample{}, fmt.Errorf("%w: %s", err, stderr.Bytes())
		}
		var r struct {
			Requests, US, P50, P99, P999 float64
			Failed                       int
		}
		if err := json.Unmarshal(stderr.Bytes(), &r); err != nil {
			return contest.Sample{}, fmt.Errorf("%w: %s", err, stderr.Bytes())
		}
		if r.Failed > 0 {
			return contest.Sample{}, fmt.Errorf("%d requests failed", r.Failed)
		}
		cpu := (wrk.ProcessState.UserTime() + wrk.ProcessState.SystemTime()).Seconds()
		return contest.Sample{N: r.Requests, Took: time.Duration(r.US * 1e3), More: map[string]float64{
			"p50-µs": r.P50, "p99-µs": r.P99, "p99.9-µs": r.P999, "client-cpu-s/M": cpu / r.Requests * 1e6,
		}}, nil
	}
	return c, nil
}

// loader is our load generator on s, as a contestant of wrk.
func (d *driver) loader(s *server) contest.Contestant {
	return contest.Contestant{Name: "promoload", Setup: "bench/load", Run: func(ctx context.Context) (contest.Sample, error) {
		r, err := d.load(ctx, s, s.kind, wrkLen, 0)
		if err != nil {
			return contest.Sample{}, err
		}
		return contest.Sample{N: float64(r.Requests), Took: time.Duration(r.Seconds * 1e9), More: map[string]float64{
			"p50-µs": r.P50, "p99-µs": r.P99, "p99.9-µs": r.P999, "client-cpu-s/M": r.CPUSeconds / float64(r.Requests) * 1e6,
		}}, nil
	}}
}

// Package load sends requests for random promotions to a server, as fast as the
// server answers or at a fixed rate, and measures the latency of the answers.
//
// The load must be cheap, because client and server share the processors. Each
// connection has one goroutine, which makes two system calls a request, a write
// and a read, besides a share of epoll_wait; see conn. This costs 0.8 of the
// processor time of wrk. Run the load in a process of its own, so that its time
// can be told from that of the server.
//
// The IDs are those of package synth, chosen at random, so that lookups are
// spread over the whole data set. Run checks the status and the length of every
// answer, and the ID in the answer to a GET.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// BatchLen is the number of IDs in the request of a batch.
const BatchLen = 1000

// Options describes a load.
type Options struct {
	Addr        string        // host and port of the server
	Batch       bool          // POST /promotions/lookup with BatchLen IDs instead of GET /promotions/ID
	Rows        int64         // the server has the first Rows IDs of synth.KeysV4
	Connections int           // each with one request at a time
	Duration    time.Duration // no request is sent after it
	Misses      float64       // the share of requests for an ID that the server does not have
	Constant    bool          // the server gives the same answer to every request

	// Rate is the number of requests a second, evenly spaced. A request that
	// finds every connection busy waits, and its latency counts from the time at
	// which it was due, so that a stall of the server hides nothing. If Rate is 0,
	// each connection sends the next request immediately after an answer.
	Rate float64
}

// Result is the outcome of a load. Latencies are exact to 1 %.
type Result struct {
	Requests             int64   // with the right answer
	Failed               int64   // with a wrong answer or none
	Failure              string  // the first of these
	Seconds              float64 // from the first request to the last answer
	CPUSeconds           float64 // processor time of this process
	P50, P99, P999, Most float64 // latency in µs
}

// Err returns an error if a request failed.
func (r Result) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d requests failed: %s", r.Failed, r.Failed+r.Requests, r.Failure)
}

// PerSecond returns the number of requests a second.
func (r Result) PerSecond() float64 { return float64(r.Requests) / r.Seconds }

// Command runs the load in a process of its own: "program load OPTIONS", which
// must print the result of Run in JSON.
func (o Options) Command(ctx context.Context, program string) (r Result, err error) {
	args, err := json.Marshal(o)
	if err != nil {
		return r, err
	}
	c := exec.CommandContext(ctx, program, "load", string(args))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return r, fmt.Errorf("load on %s: %w: %s", o.Addr, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return r, json.Unmarshal(out, &r)
}

// grace is the time that an answer may take after the end of the load.
const grace = 10 * time.Second

// A run holds the state that all connections share.
type run struct {
	Options
	start  time.Time
	idle   chan *conn // connections without a request; nil without a rate
	batch  [][]byte   // requests
	closed atomic.Bool
}

// Run sends the load. An error means that the server could not be reached or
// that ctx ended; failed requests are part of the result.
func Run(ctx context.Context, o Options) (result Result, err error) {
	if o.Rows < 1 || o.Connections < 1 || o.Duration <= 0 || o.Rate > 0 && o.Batch {
		return result, fmt.Errorf("load: bad options %+v", o)
	}
	r := &run{Options: o}
	if o.Batch {
		r.batch = newBatches(o)
	}
	if o.Rate > 0 {
		r.idle = make(chan *conn, o.Connections)
		// The pacer keeps a processor of the scheduler while it sleeps.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1))
	}
	// Nothing is allocated between requests. A collection would only add latency.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	conns := make([]*conn, o.Connections)
	for i := range conns {
		conns[i] = newConn(r, i)
		if err := conns[i].dial(); err != nil {
			return result, err
		}
		defer conns[i].close()
	}
	defer context.AfterFunc(ctx, func() {
		r.closed.Store(true)
		for _, c := range conns {
			c.close()
		}
	})()
	before := cpuTime()
	r.start = time.Now()
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(c.serve)
	}
	if o.Rate > 0 {
		wg.Go(r.pace)
	}
	wg.Wait()
	result.CPUSeconds = (cpuTime() - before).Seconds()

	all, last := newHistogram(), int64(0)
	for _, c := range conns {
		if c.busy.Load() {
			c.fail("no answer") // sent after the server closed the connection
		}
		all.Merge(c.latency)
		last = max(last, c.last)
		result.Failed += c.failed
		if result.Failure == "" {
			result.Failure = c.failure
		}
		err = errors.Join(err, c.err)
	}
	result.Requests, result.Seconds = all.TotalCount(), time.Duration(last).Seconds()
	quantile := func(q float64) float64 { return float64(all.ValueAtQuantile(q)) / 1e3 }
	result.P50, result.P99, result.P999, result.Most = quantile(50), quantile(99), quantile(99.9), float64(all.Max())/1e3
	if ctx.Err() != nil {
		return result, ctx.Err()
	}
	return result, err
}

// newHistogram returns a histogram of nanoseconds up to a minute, exact to 1 %.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute), 2)
}

// now returns the nanoseconds since the start.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// pace sends each request when it is due, on a connection that is idle, and
// closes the connections at the end. It sleeps in the kernel, because timers of
// Go are late by up to a millisecond.
func (r *run) pace() {
	runtime.LockOSThread() // without unlock: the thread ends with its timer slack
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0)
	for n := 0; ; n++ {
		due := int64(float64(n) / r.Rate * 1e9)
		if due >= int64(r.Duration) || r.closed.Load() {
			break
		}
		for wait := due - r.now(); wait > 0; wait = due - r.now() {
			sleep(wait)
		}
		c := r.takeIdle()
		if c == nil {
			break
		}
		c.send(due)
	}
	for range r.Connections {
		c := r.takeIdle()
		if c == nil {
			return // the read deadline ends the others
		}
		c.close()
	}
}

// takeIdle returns an idle connection, or nil if none becomes idle in time.
func (r *run) takeIdle() *conn {
	select {
	case c := <-r.idle:
		return c
	default:
	}
	timeout := time.NewTimer(r.Duration + grace - time.Since(r.start))
	defer timeout.Stop()
	select {
	case c := <-r.idle:
		return c
	case <-timeout.C:
		return nil
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

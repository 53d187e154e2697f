// Package load asks a server for random promotions, as fast as it answers or
// at a fixed rate, and tells how long the answers took.
//
// It is made to cost little, since client and server share the machine: one
// goroutine with its own epoll drives many connections, each request is
// written by one system call and each answer read by one, and nothing is
// allocated between them. Run it in a process of its own, by Process, so that
// the server's processor time can be told from the client's.
//
// It knows the ids of package synth and asks for one of them at random, so that
// lookups are spread over the whole table. It checks the status of each answer
// and that it is complete, but not what it says: that is for tests.
//
// Linux only.
package load

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A Kind is what is asked for.
type Kind string

// The kinds of request.
const (
	Get    Kind = "get"    // GET /promotions/<id>
	Lookup Kind = "lookup" // POST /promotions/lookup with BatchLen ids
	Redis  Kind = "redis"  // GET <id> in the protocol of Redis
)

// BatchLen is how many ids a Lookup asks for.
const BatchLen = 1000

// Options says what to ask, and how fast.
type Options struct {
	Addr        string // host and port
	Kind        Kind
	Rows        int64 // the ids with an index below it are there: synth.KeysV4, seed 0
	Connections int   // each with one request at a time
	Threads     int   // to drive the connections; at most Connections
	Duration    time.Duration
	Misses      float64 // the part of the ids that is not there, 0 to 1
	Constant    bool    // the server knows every id

	// Rate is requests a second, evenly spaced. A request that finds no free
	// connection waits, and its latency counts from when it was due: a server
	// that stalls does not hide what came in meanwhile. 0 sends the next request
	// on each connection as soon as the last is answered; latency counts from
	// then.
	Rate float64
}

// Check reports whether o makes sense.
func (o *Options) Check() error {
	switch {
	case o.Kind != Get && o.Kind != Lookup && o.Kind != Redis:
		return fmt.Errorf("kind of request %q is none of %s, %s, %s", o.Kind, Get, Lookup, Redis)
	case o.Rows < 1 || o.Rows > 1<<59:
		return fmt.Errorf("%d rows", o.Rows)
	case o.Threads < 1 || o.Connections < o.Threads:
		return fmt.Errorf("%d threads for %d connections", o.Threads, o.Connections)
	case o.Duration <= 0:
		return fmt.Errorf("a duration of %v", o.Duration)
	case !(o.Rate >= 0) || !(o.Misses >= 0 && o.Misses <= 1):
		return fmt.Errorf("a rate of %v, misses of %v", o.Rate, o.Misses)
	}
	return nil
}

// A Result is what came of a load. Times are in microseconds; a quantile is
// exact to 1 %.
type Result struct {
	Requests   int64   `json:"requests"` // answered as they should be
	Seconds    float64 `json:"seconds"`  // from the first request to the last answer
	Failed     int64   `json:"failed"`   // with another status, cut off, or never answered
	Failure    string  `json:"failure,omitempty"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
	CPUSeconds float64 `json:"cpu_seconds"` // of the client
}

// Rate is requests a second.
func (r *Result) Rate() float64 { return float64(r.Requests) / r.Seconds }

// Err is an error if a request failed. What took how long is of the others.
func (r *Result) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d requests failed: %s", r.Failed, r.Failure)
}

// grace is how long to wait for answers when the time is over.
const grace = 10 * time.Second

// Run loads a server. The error says why it could not be done, or ended early;
// requests that failed are in the result. While it runs, each thread keeps a
// processor of the Go scheduler to itself, also when it sleeps.
func Run(ctx context.Context, opts Options) (Result, error) {
	if err := opts.Check(); err != nil {
		return Result{}, err
	}
	clients := make([]*client, opts.Threads)
	var err error
	for i := range clients {
		// The first ones take what is left over.
		n := (opts.Connections + opts.Threads - 1 - i) / opts.Threads
		if clients[i], err = newClient(&opts, i, n); err != nil {
			break
		}
		defer clients[i].close()
	}
	if err != nil {
		return Result{}, err
	}
	// One for everything else, such as the end of ctx.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(opts.Threads+1, runtime.GOMAXPROCS(0))))
	cpu := cpuSeconds()
	start := time.Now()
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() { c.run(ctx, start) })
	}
	running.Wait()
	r := Result{CPUSeconds: cpuSeconds() - cpu}
	var all histogram
	last := int64(0)
	for _, c := range clients {
		all.add(&c.times)
		last = max(last, c.last)
		r.Failed += c.failed
		if r.Failure == "" {
			r.Failure = c.failure
		}
		err = errors.Join(err, c.err)
	}
	r.Requests, r.Seconds = all.count, time.Duration(last).Seconds()
	r.P50, r.P99, r.P999 = all.quantile(0.5)/1e3, all.quantile(0.99)/1e3, all.quantile(0.999)/1e3
	r.Max = float64(all.max) / 1e3
	return r, errors.Join(err, ctx.Err())
}

// cpuSeconds is what this process used so far.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

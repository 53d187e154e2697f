package load_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promostore/bench/load"
	"promostore/format"
	"promostore/internal/synth"
)

const rows = 1000

// table is a server that knows the ids of a table, and counts.
type table struct {
	ids              map[string]bool
	hits, misses     atomic.Int64
	batches, unknown atomic.Int64
	stall            sync.Once // the first request takes stallLen
	stallLen         time.Duration
	status           int // of all answers, if not 0
}

func newTable() *table {
	t := &table{ids: map[string]bool{}}
	for i := range uint64(rows) {
		t.ids[synth.Keys{Kind: synth.KeysV4}.At(i).String()] = true
	}
	return t
}

func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.stall.Do(func() { time.Sleep(t.stallLen) })
	switch {
	case t.status != 0:
		w.WriteHeader(t.status)
	case r.Method == http.MethodPost && r.URL.Path == "/promotions/lookup":
		body, err := io.ReadAll(r.Body)
		ids, ok := strings.CutPrefix(string(body), `{"ids":["`)
		ids, ok2 := strings.CutSuffix(ids, `"]}`)
		if err != nil || !ok || !ok2 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		t.batches.Add(1)
		for id := range strings.SplitSeq(ids, `","`) {
			if len(id) != format.TextLen || !t.ids[id] {
				t.unknown.Add(1)
			}
		}
		const long = 300_000 // bytes; more than are read at once
		w.Header().Set("Content-Length", strconv.Itoa(long))
		_, _ = io.WriteString(w, strings.Repeat("x", long))
	case r.Method == http.MethodGet && t.ids[strings.TrimPrefix(r.URL.Path, "/promotions/")]:
		t.hits.Add(1)
		_, _ = io.WriteString(w, "here")
	default:
		t.misses.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}
}

func (t *table) serve(tb testing.TB) (addr string) {
	s := httptest.NewServer(t)
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func options(addr string) load.Options {
	return load.Options{Addr: addr, Kind: load.Get, Rows: rows, Connections: 5, Threads: 2, Duration: 200 * time.Millisecond, Misses: 0.5}
}

func run(t *testing.T, opts load.Options) load.Result {
	t.Helper()
	r, err := load.Run(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests > 0 && !(0 < r.P50 && r.P50 <= r.P99 && r.P99 <= r.P999 && r.P999 <= r.Max && r.Seconds > 0 && r.CPUSeconds > 0) {
		t.Errorf("%+v", r)
	}
	return r
}

func TestGet(t *testing.T) {
	s := newTable()
	r := run(t, options(s.serve(t)))
	if r.Failed > 0 || r.Requests != s.hits.Load()+s.misses.Load() {
		t.Errorf("%+v; the server had %d hits, %d misses", r, s.hits.Load(), s.misses.Load())
	}
	if part := float64(s.misses.Load()) / float64(r.Requests); part < 0.3 || part > 0.7 {
		t.Errorf("%.2f of the ids were missing, want about half", part)
	}
}

func TestLookup(t *testing.T) {
	s := newTable()
	opts := options(s.serve(t))
	opts.Kind, opts.Misses = load.Lookup, 0.01
	r := run(t, opts)
	n := s.batches.Load()
	if r.Failed > 0 || r.Requests != n || n == 0 {
		t.Fatalf("%+v; the server had %d", r, n)
	}
	if part := float64(s.unknown.Load()) / float64(n*load.BatchLen); part == 0 || part > 0.03 {
		t.Errorf("%.3f of the ids were missing, want about 0.01", part)
	}
}

// TestRate checks that all requests of a fixed rate are sent, and that a stall
// counts for those which came due in it.
func TestRate(t *testing.T) {
	s := newTable()
	s.stallLen = 100 * time.Millisecond
	opts := options(s.serve(t))
	opts.Rate, opts.Connections, opts.Threads = 500, 1, 1
	r := run(t, opts)
	if r.Requests != 100 || r.Failed > 0 {
		t.Errorf("%d requests in 0.2 s at 500 a second, %d failed: %s", r.Requests, r.Failed, r.Failure)
	}
	// Half of them waited, 50 ms on average.
	if r.P99 < 80e3 || r.Max < 100e3 {
		t.Errorf("p99 %.0f µs, max %.0f µs with a stall of 100 ms", r.P99, r.Max)
	}
}

func TestWrongStatus(t *testing.T) {
	s := newTable()
	s.status = http.StatusServiceUnavailable
	r := run(t, options(s.serve(t)))
	if r.Requests != 0 || r.Failed == 0 || r.Err() == nil || !strings.Contains(r.Failure, "503") {
		t.Errorf("%+v", r)
	}
}

func TestConstant(t *testing.T) {
	s := newTable()
	s.status = http.StatusOK
	opts := options(s.serve(t))
	opts.Constant = true
	if r := run(t, opts); r.Requests == 0 || r.Failed > 0 {
		t.Errorf("%+v", r)
	}
}

// TestClosed is a server that closes connections instead of answering.
func TestClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				var b [1]byte
				_, _ = c.Read(b[:])
				c.Close()
			}()
		}
	}()
	opts := options(ln.Addr().String())
	opts.Rate = 100
	if r := run(t, opts); r.Requests != 0 || r.Failed != 20 {
		t.Errorf("%+v, want 20 failed", r)
	}
}

func TestErrors(t *testing.T) {
	addr := newTable().serve(t)
	for _, change := range []func(*load.Options){
		func(o *load.Options) { o.Kind = "put" },
		func(o *load.Options) { o.Rows = 0 },
		func(o *load.Options) { o.Threads = 0 },
		func(o *load.Options) { o.Connections = 1 },
		func(o *load.Options) { o.Duration = 0 },
		func(o *load.Options) { o.Rate = -1 },
		func(o *load.Options) { o.Misses = 2 },
		func(o *load.Options) { o.Addr = "127.0.0.1:1" },
	} {
		opts := options(addr)
		change(&opts)
		if r, err := load.Run(t.Context(), opts); err == nil {
			t.Errorf("%+v: no error, %+v", opts, r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := load.Run(ctx, options(addr)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestProgram(t *testing.T) {
	p, err := load.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newTable()
	opts := options(s.serve(t))
	r, err := p.Run(t.Context(), opts)
	if err != nil || r.Failed > 0 || r.Requests == 0 || r.Requests != s.hits.Load()+s.misses.Load() {
		t.Errorf("%+v, %v; the server had %d hits, %d misses", r, err, s.hits.Load(), s.misses.Load())
	}
	opts.Addr = "127.0.0.1:1"
	if _, err := p.Run(t.Context(), opts); err == nil {
		t.Error("nobody listens: no error")
	}
}

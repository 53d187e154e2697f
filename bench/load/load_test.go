package load

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

	"promostore/format"
	"promostore/internal/synth"
)

const rows = 1000

// A dataSet is a server that has the IDs of a data set, and counts requests.
type dataSet struct {
	ids              map[string]bool
	hits, misses     atomic.Int64
	batches, unknown atomic.Int64
	stall            sync.Once // the first request takes stallTime
	stallTime        time.Duration
	status           int    // of all answers, if not 0
	body             string // of all answers to a GET, if not ""
}

func newDataSet() *dataSet {
	t := &dataSet{ids: map[string]bool{}}
	for i := range uint64(rows) {
		t.ids[synth.Keys{Kind: synth.KeysV4}.At(i).String()] = true
	}
	return t
}

func (t *dataSet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.stall.Do(func() { time.Sleep(t.stallTime) })
	id := strings.TrimPrefix(r.URL.Path, "/promotions/")
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
		const long = 300_000 // bytes; more than one read returns
		w.Header().Set("Content-Length", strconv.Itoa(long))
		_, _ = io.WriteString(w, strings.Repeat("x", long))
	case r.Method == http.MethodGet && t.ids[id]:
		t.hits.Add(1)
		if t.body != "" {
			id = t.body
		}
		_, _ = io.WriteString(w, id)
	default:
		t.misses.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}
}

func (t *dataSet) serve(tb testing.TB) Options {
	s := httptest.NewServer(t)
	tb.Cleanup(s.Close)
	return Options{Addr: s.Listener.Addr().String(), Rows: rows, Connections: 5, Duration: 200 * time.Millisecond, Misses: 0.5}
}

func run1(t *testing.T, o Options) Result {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Requests > 0 && !(0 < r.P50 && r.P50 <= r.P99 && r.P99 <= r.P999 && r.P999 <= r.Most && r.Seconds > 0 && r.CPUSeconds > 0) {
		t.Errorf("%+v", r)
	}
	return r
}

func TestGet(t *testing.T) {
	s := newDataSet()
	r := run1(t, s.serve(t))
	if r.Failed > 0 || r.Requests != s.hits.Load()+s.misses.Load() || r.Requests == 0 {
		t.Errorf("%+v; the server had %d hits, %d misses", r, s.hits.Load(), s.misses.Load())
	}
	if part := float64(s.misses.Load()) / float64(r.Requests); part < 0.3 || part > 0.7 {
		t.Errorf("%.2f of the IDs were absent, want about half", part)
	}
}

func TestBatch(t *testing.T) {
	s := newDataSet()
	o := s.serve(t)
	o.Batch, o.Misses = true, 0.01
	r := run1(t, o)
	n := s.batches.Load()
	if r.Failed > 0 || r.Requests != n || n == 0 {
		t.Fatalf("%+v; the server had %d", r, n)
	}
	if part := float64(s.unknown.Load()) / float64(n*BatchLen); part == 0 || part > 0.03 {
		t.Errorf("%.3f of the IDs were absent, want about 0.01", part)
	}
}

// TestRateCountsStalls checks that all requests of a fixed rate are sent, and
// that a stall counts for the requests that were due in it.
func TestRateCountsStalls(t *testing.T) {
	s := newDataSet()
	s.stallTime = 100 * time.Millisecond
	o := s.serve(t)
	o.Rate, o.Connections = 500, 1
	r := run1(t, o)
	if r.Requests != 100 || r.Failed > 0 {
		t.Errorf("%d requests in 0.2 s at 500 a second, %d failed: %s", r.Requests, r.Failed, r.Failure)
	}
	// Half of the requests waited, 50 ms on average.
	if r.P99 < 80e3 || r.Most < 100e3 {
		t.Errorf("p99 %.0f µs, maximum %.0f µs with a stall of 100 ms", r.P99, r.Most)
	}
}

func TestWrongAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		server *dataSet
		want   string
	}{
		"status":     {&dataSet{status: http.StatusServiceUnavailable}, "503"},
		"another ID": {func() *dataSet { s := newDataSet(); s.body = "00000000-0000-0000-0000-000000000000"; return s }(), "another ID"},
	} {
		o := c.server.serve(t)
		o.Misses = 0
		if r := run1(t, o); r.Requests != 0 || r.Failed == 0 || r.Err() == nil || !strings.Contains(r.Failure, c.want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	o := (&dataSet{status: http.StatusOK}).serve(t)
	o.Constant = true
	if r := run1(t, o); r.Requests == 0 || r.Failed > 0 {
		t.Errorf("constant: %+v", r)
	}
}

// TestClosedConnections sends to a server that closes connections without an
// answer.
func TestClosedConnections(t *testing.T) {
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
	o := newDataSet().serve(t)
	o.Addr, o.Rate = ln.Addr().String(), 100
	if r := run1(t, o); r.Requests != 0 || r.Failed != 20 {
		t.Errorf("%+v, want 20 failed", r)
	}
	o.Rate = 0
	if r := run1(t, o); r.Requests != 0 || r.Failed == 0 {
		t.Errorf("%+v, want some failed", r)
	}
}

func TestErrors(t *testing.T) {
	o := newDataSet().serve(t)
	for _, change := range []func(*Options){
		func(o *Options) { o.Rows = 0 },
		func(o *Options) { o.Connections = 0 },
		func(o *Options) { o.Duration = 0 },
		func(o *Options) { o.Rate, o.Batch = 1, true },
		func(o *Options) { o.Addr = "127.0.0.1:1" },
	} {
		bad := o
		change(&bad)
		if r, err := Run(t.Context(), bad); err == nil {
			t.Errorf("%+v: no error, %+v", bad, r)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestParse(t *testing.T) {
	const head = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		in          string
		status, end int
		bad         bool
	}{
		{head + "not here, no", 404, len(head) + 12, false},
		{head, 404, len(head) + 12, false},
		{head[:len(head)-1], 0, 0, false},
		{"", 0, 0, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, 38, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, true},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, 0, true},
		{"HTTP/1.1 \r\n\r\n", 0, 0, true},
		{"SSH-2.0\r\n\r\n", 0, 0, true},
	} {
		status, end, err := parse([]byte(c.in))
		if status != c.status || end != c.end || (err != nil) != c.bad {
			t.Errorf("%q: %d, %d, %v; want %d, %d", c.in, status, end, err, c.status, c.end)
		}
	}
}

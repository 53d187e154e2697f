package limits

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"promostore/bench/contest"
	"promostore/bench/machine"
	"promostore/reader"
)

func newEnv(tb testing.TB, rows int64) *contest.Env {
	tb.Helper()
	env, err := contest.NewEnv(tb.Context(), tb.TempDir(), rows, tb.Output())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := env.Close(); err != nil {
			tb.Error(err)
		}
	})
	return env
}

// Each way of reading reads for as long as it is told to, and finds what it
// looks for; what the table does not have is noticed.
func TestReads(t *testing.T) {
	const rows = 5000
	table, err := made(t.Context(), newEnv(t, rows), rows)
	if err != nil {
		t.Fatal(err)
	}
	if table.Rows != rows {
		t.Fatalf("%d rows, want %d", table.Rows, rows)
	}
	for _, o := range []Reads{{}, {Bare: true}, {Bare: true, Threads: true}} {
		o.File, o.Rows, o.Clients, o.Warm, o.Time = table.File, rows, 4, 1000, 50*time.Millisecond
		r, err := o.Run(t.Context())
		if err != nil || r.Lookups == 0 || r.Seconds < o.Time.Seconds() || o.Bare != (r.Access == "") {
			t.Errorf("%+v: %+v, %v", o, r, err)
		}
	}
	o := Reads{File: table.File, Rows: 2 * rows, Clients: 1, Time: time.Second}
	if _, err := o.Run(t.Context()); !errors.Is(err, errLost) {
		t.Errorf("ids that are not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestServer(t *testing.T) {
	const rows = 5000
	env := newEnv(t, rows)
	table, err := made(t.Context(), env, rows)
	if err != nil {
		t.Fatal(err)
	}
	var results []contest.Result
	if err := runStart(t.Context(), env, table, func(r contest.Result) { results = append(results, r) }); err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 {
		t.Errorf("%d results, want those of two ways to verify: %+v", len(results), results)
	}
	for _, r := range results {
		if r.Ours <= 0 || r.Holds != nil && !*r.Holds {
			t.Errorf("%+v", r)
		}
	}
	if _, err := StartServer(t.Context(), env, nil, "/dev/null"); err == nil {
		t.Error("a server of no directory is ready")
	}
}

// sane wants a result to be of something that was measured.
func sane(t *testing.T, r contest.Result) {
	t.Helper()
	if r.Ours <= 0 || r.Peer != "" && (r.Theirs <= 0 || r.Ratio <= 0) {
		t.Errorf("%+v", r)
	}
	t.Logf("%s: %.4g, %.4g %s", r.Name, r.Ours, r.Theirs, r.Unit)
}

// newShortTest is a file of rows that is small, and so fits into the memory
// that it has.
func newShortTest(t *testing.T) *short {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("control groups need root")
	}
	s, err := newShort(t.Context(), newEnv(t, 1), 200_000)
	if err != nil {
		t.Fatal(err)
	}
	s.time = 300 * time.Millisecond
	return s
}

// The contests in too little memory run.
func TestShort(t *testing.T) {
	s := newShortTest(t)
	var err error
	if s.group, err = machine.NewGroup(machine.Limits{MemoryBytes: s.limit}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.group.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, c := range s.contests() {
		c.Rounds = 1
		if err := run(t.Context(), &c, func(r contest.Result) {
			if r.Name == "pages/"+c.Name {
				return // all of it is in memory
			}
			sane(t, r)
		}); err != nil {
			t.Error(err)
		}
	}
}

// Those with a slow disk do, and the others are held to its rate.
func TestSlow(t *testing.T) {
	s := newShortTest(t)
	var results []contest.Result
	if err := s.runSlow(t.Context(), 1, func(r contest.Result) { results = append(results, r) }); err != nil {
		t.Fatal(err)
	}
	if len(results) != 3 {
		t.Errorf("%d results, want 3", len(results))
	}
	for _, r := range results {
		sane(t, r)
	}
}

func TestVerifies(t *testing.T) {
	const rows = 5000
	env := newEnv(t, rows)
	table, err := made(t.Context(), env, rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range verifies(env, table) {
		if r, err := c.Run(t.Context()); err != nil || r.Ours <= 0 || r.Theirs <= 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if err := os.Truncate(table.File, table.Bytes-1); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(table.Dir); err == nil {
		t.Error("a file that was cut is a table")
	}
	if _, err := reader.Open(table.File, reader.AccessAuto); err == nil {
		t.Error("a file that was cut opens")
	}
}

package scale

import (
	"slices"
	"strings"
	"testing"

	"promostore/bench/contest"
)

func newEnv(t *testing.T, rows int64) *contest.Env {
	t.Helper()
	env, err := contest.NewEnv(t.Context(), t.TempDir(), rows, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	})
	return env
}

func TestSizes(t *testing.T) {
	for rows, want := range map[int64][]int64{
		5000:       {5000},
		100_000:    {100_000},
		20_000_000: {100_000, 1_000_000, 10_000_000},
	} {
		if got := sizes(rows); !slices.Equal(got, want) {
			t.Errorf("%d: %v, want %v", rows, got, want)
		}
	}
}

func TestBuild(t *testing.T) {
	const rows = 5000
	dir := t.TempDir() + "/data"
	b, err := build(t.Context(), newEnv(t, rows), dir, rows)
	if err != nil {
		t.Fatal(err)
	}
	if b.Records != rows || b.seconds <= 0 || b.PeakRSSBytes < 1<<20 || b.peakDisk < b.FileBytes {
		t.Errorf("%+v", b)
	}
}

// Every figure is there, once for each size.
func TestRun(t *testing.T) {
	var names []string
	err := Run(t.Context(), newEnv(t, 5000), func(r contest.Result) {
		names = append(names, strings.TrimSuffix(r.Name, "/5000"))
		if r.Holds != nil && !*r.Holds || r.Area != area {
			t.Errorf("%+v", r)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"build", "peak-memory", "record-bytes", "spilled", "disk", "lookup", "ready-index", "ready", "requests"}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}

package lookups_test

import (
	"math"
	"strings"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/lookups"
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

// TestRun holds all contests at a small size, where only the results can be
// looked at, not the ratios: every lookup finds its id, or there is an error.
// It needs cgo.
func TestRun(t *testing.T) {
	lookups.ShortTurns(t)
	env := newEnv(t, 3000)
	got := map[string]contest.Result{}
	err := lookups.Run(t.Context(), env, func(r contest.Result) {
		if strings.HasPrefix(r.Note, "not measured") {
			t.Errorf("%s: %s", r.Name, r.Note)
		}
		got[r.Name] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	if r, there := got["allocs"]; !there || r.Ours != 0 || r.Holds == nil || !*r.Holds {
		t.Errorf("allocations: %+v", r)
	}
	for _, name := range []string{
		"floor/3000", "floor/30000", "batch", "v7", "sequential", "same-prefix", "bbolt", "Pebble", "Badger", "LMDB", "SQLite", "map",
	} {
		if r, there := got[name]; !there || r.Ratio <= 0 || math.IsInf(r.Ratio, 0) || r.OursMore["ns"] <= 0 || r.PeerMore["ns"] <= 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestPart looks up in parts of a file, down to less than a block and up to
// more than all.
func TestPart(t *testing.T) {
	lookups.ShortTurns(t)
	for _, rows := range []int64{1, 127, 5000} {
		env := newEnv(t, rows)
		dir, err := env.Generation(t.Context(), "v4", rows)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int64{0, 16 << 10, 1 << 30} {
			n := 0
			err := lookups.Part(t.Context(), dir, size, func(r contest.Result) {
				if n++; r.Ratio <= 0 || r.Bar == nil {
					t.Errorf("%d bytes: %+v", size, r)
				}
			})
			if err != nil || n != 1 {
				t.Errorf("%d rows, %d bytes: %d results, %v", rows, size, n, err)
			}
		}
	}
	if err := lookups.Part(t.Context(), t.TempDir(), 1<<20, nil); err == nil {
		t.Error("an empty directory has lookups")
	}
}

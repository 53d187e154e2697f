package lookups_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/lookups"
	"promostore/format"
)

// programs is an Env that all tests share, since building takes long.
var programs *contest.Env

func TestMain(m *testing.M) {
	var err error
	if programs, err = contest.NewEnv(context.Background(), "", 0, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := programs.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func newEnv(t *testing.T, rows int64) *contest.Env {
	t.Helper()
	env := *programs
	env.Dir, env.Rows, env.Log = t.TempDir(), rows, t.Output()
	return &env
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
	if r := got["id"]; r.Ours <= 0 || r.Unit != "ns" {
		t.Errorf("making an id: %+v", r)
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

// TestChained looks up in a generation as the scale chapter does.
func TestChained(t *testing.T) {
	lookups.ShortTurns(t)
	env := newEnv(t, 5000)
	dir, err := env.Generation(t.Context(), "v4", 5000)
	if err != nil {
		t.Fatal(err)
	}
	if ns, err := lookups.Chained(t.Context(), dir); err != nil || ns <= 0 {
		t.Errorf("%v ns, %v", ns, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	if ns, err := lookups.Waiting(t.Context(), files[0]); err != nil || ns <= 0 {
		t.Errorf("from the disk: %v ns, %v", ns, err)
	}
	if _, err := lookups.Chained(t.Context(), t.TempDir()); err == nil {
		t.Error("an empty directory has lookups")
	}
}

// TestWarm is that what is warmed is spread over all of a table, up to its end.
func TestWarm(t *testing.T) {
	const rows = 5000
	env := newEnv(t, rows)
	keys, err := lookups.WarmKeys(t.Context(), env, rows)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != (rows+15)/16 || !slices.IsSortedFunc(keys, format.Key.Compare) || keys[len(keys)-1].Hi < 0xFE<<56 {
		t.Errorf("%d keys, the last is %v", len(keys), keys[len(keys)-1])
	}
}

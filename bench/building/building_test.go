package building_test

import (
	"math"
	"strings"
	"testing"

	"promostore/bench/building"
	"promostore/bench/contest"
)

// TestRun holds all contests at a small size, where only the results can be
// looked at, not the ratios. It needs Debian's mariadb-server and cgo.
func TestRun(t *testing.T) {
	env, err := contest.NewEnv(t.Context(), t.TempDir(), 4000, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := env.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := map[string]contest.Result{}
	err = building.Run(t.Context(), env, func(r contest.Result) {
		if strings.HasPrefix(r.Note, "not measured") {
			t.Errorf("%s/%s: %s", r.Area, r.Name, r.Note)
		}
		got[r.Area+"/"+r.Name] = r
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"sort", "DuckDB", "floor", "SQLite", "bbolt", "Pebble", "MariaDB", "spilled/memory", "spilled/sort",
		"v7/memory", "v7/spilled", "sequential/memory", "sequential/spilled", "same-prefix/memory", "same-prefix/spilled",
	} {
		r, there := got["build/"+name]
		if !there || r.Ratio <= 0 || math.IsInf(r.Ratio, 0) || r.OursMore["bytes/row"] < 32 || r.PeerMore["bytes/row"] < 20 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for name, want := range map[string]float64{"promostore": 32, "CSV": 77, "Parquet": 20, "SQLite": 56, "bbolt": 56, "Pebble": 30, "MariaDB": 56, "entropy": 10} {
		// Files of so few rows are mostly what is the same at any size.
		if r := got["bytes/"+name]; r.Ours < want || name != "MariaDB" && r.Ours > 3*want {
			t.Errorf("%s: %v bytes a row, want some %v", name, r.Ours, want)
		}
	}
}

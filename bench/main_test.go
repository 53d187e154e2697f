package bench

import (
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"testing"
)

// env is shared by all benchmarks and tests.
var env *Env

// TestMain prints the configuration before benchmarks.
func TestMain(m *testing.M) {
	flag.Parse()
	rows := int64(0)
	if text := os.Getenv("ROWS"); text != "" {
		var err error
		if rows, err = strconv.ParseInt(text, 10, 64); err != nil || rows < 1 {
			fmt.Fprintf(os.Stderr, "ROWS=%s: not a positive number\n", text)
			os.Exit(2)
		}
	}
	var err error
	if env, err = NewEnv(os.Getenv("DIR"), rows); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if flag.Lookup("test.bench").Value.String() != "" {
		if rows > 0 {
			fmt.Println("rows:", rows)
		}
		for _, line := range env.Config() {
			fmt.Println(line)
		}
	}
	code := m.Run()
	if err := env.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// count formats a number of rows for the name of a benchmark: "20M".
func count(rows int64) string {
	switch {
	case rows%1e6 == 0:
		return fmt.Sprintf("%dM", rows/1e6)
	case rows%1e3 == 0:
		return fmt.Sprintf("%dk", rows/1e3)
	}
	return strconv.FormatInt(rows, 10)
}

// run runs a benchmark of a data set with the given number of rows.
func run(b *testing.B, name string, rows int64, f func(b *testing.B)) {
	b.Run(name+"/rows="+count(rows), f)
}

// when returns t if the rows are those that the target is for.
func when(rows, of int64, t Target) Target {
	if rows != of {
		return Target{}
	}
	return t
}

func TestInterval(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high float64
	}{{1, 1, 1}, {5, 1, 5}, {6, 1, 6}, {9, 2, 8}, {25, 8, 18}} {
		x := make([]float64, c.n)
		for i := range x {
			x[i] = float64(c.n - i)
		}
		if low, high := Interval(x); low != c.low || high != c.high {
			t.Errorf("%d values: %v to %v, want %v to %v", c.n, low, high, c.low, c.high)
		}
	}
}

func TestCompare(t *testing.T) {
	round := 0
	subject := func(values ...float64) Subject {
		return func(testing.TB) Sample {
			round++
			return Sample{values[(round-1)/2], map[string]float64{"peak-MiB": 5}}
		}
	}
	r := testing.Benchmark(func(b *testing.B) {
		round = 0
		Compare(b, Comparison{
			Unit: "rows/s", Rounds: 3, Target: Target{AtLeast: 2},
			Ours: subject(20, 90, 40), Peer: subject(10, 30, 10),
		})
	})
	for unit, want := range map[string]float64{
		"rows/s": 40, "peer-rows/s": 10, "ratio": 3, "ratio-low": 2, "ratio-high": 4, "rounds": 3, "target-min": 2, "peak-MiB": 5, "peer-peak-MiB": 5,
	} {
		if r.Extra[unit] != want {
			t.Errorf("%s = %v, want %v", unit, r.Extra[unit], want)
		}
	}
	if !math.IsNaN(Median(nil)) || Median([]float64{1, 4, 2, 3}) != 2.5 {
		t.Error("wrong median")
	}
}

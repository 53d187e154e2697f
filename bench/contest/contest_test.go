package contest_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"promostore/bench/contest"
)

// turns is a contestant whose turns take so many seconds for ten units each.
func turns(name string, log *[]string, seconds ...float64) contest.Contestant {
	return contest.Contestant{Name: name, Run: func(context.Context) (contest.Sample, error) {
		*log = append(*log, name)
		s := contest.Sample{N: 10, Took: time.Duration(seconds[0] * float64(time.Second)), More: map[string]float64{"first": seconds[0]}}
		seconds = seconds[1:]
		return s, nil
	}}
}

func TestTurnsAndMedian(t *testing.T) {
	for _, test := range []struct {
		bar     *contest.Bar
		ratio   float64 // the ratios of the turns are 4, 2 and 1, or one over that
		verdict string
	}{
		{nil, 2, ""},
		{contest.AtLeast(1), 2, "yes"},
		{contest.AtLeast(4.1), 2, "no"},
		{contest.AtMost(1), 0.5, "yes"},
		{contest.AtMost(0.2), 0.5, "no"},
		{contest.AtLeast(2).For(10, 20), 2, "-"},
	} {
		var log []string
		c := contest.Contest{Area: "area", Name: "n", Unit: "rows", Rows: 20, Bar: test.bar,
			Ours: turns("a", &log, 1, 2, 4), Peer: turns("b", &log, 4, 4, 4)}
		r, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"a", "b", "a", "b", "a", "b"}; !slices.Equal(log, want) {
			t.Errorf("turns %v, want %v", log, want)
		}
		if r.Ratio != test.ratio || len(r.Ratios) != 3 {
			t.Errorf("bar %v: ratio %v of %v, want %v", test.bar, r.Ratio, r.Ratios, test.ratio)
		}
		if r.Verdict() != test.verdict {
			t.Errorf("bar %v: %v holds %q, want %q", test.bar, r.Ratios, r.Verdict(), test.verdict)
		}
		if r.Ours != 5 || r.Theirs != 2.5 || r.OursMore["first"] != 2 || r.Unit != "rows/s" || r.Rows != 20 {
			t.Errorf("ours %v %v, theirs %v, %s, %d rows", r.Ours, r.OursMore, r.Theirs, r.Unit, r.Rows)
		}
	}
}

// A contest whose bar is open takes more turns, but neither for ever nor for
// long.
func TestMoreTurns(t *testing.T) {
	theirs := []float64{1, 1, 1, 1, 1, 1, 1, 1, 1}
	for _, test := range []struct {
		name    string
		bar     *contest.Bar
		rounds  int
		ours    []float64 // seconds of each turn, as many as are taken
		verdict string
	}{
		{"decided", contest.AtLeast(1.5), 3, []float64{0.5, 0.5, 0.5}, "yes"},
		{"decided later", contest.AtLeast(1.5), 3, []float64{1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5}, "yes"},
		{"open", contest.AtLeast(1), 3, []float64{2, 0.5, 1, 2, 0.5, 1, 2, 0.5, 1}, "open"},
		{"long", contest.AtLeast(1.0 / 60), 3, []float64{50, 60, 70}, "open"},
		{"other size", contest.AtLeast(1).For(1, 2), 3, []float64{2, 0.5, 1}, "-"},
		{"one turn", contest.AtLeast(1.5), 1, []float64{0.5, 0.5}, "yes"},
		{"one long turn", contest.AtLeast(1.5), 1, []float64{100}, "open"},
	} {
		var log []string
		c := contest.Contest{Bar: test.bar, Rounds: test.rounds, Ours: turns("a", &log, test.ours...), Peer: turns("b", &log, theirs...)}
		r, err := c.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Ratios) != len(test.ours) || r.Verdict() != test.verdict || (r.Holds == nil) == (test.verdict == "yes") {
			t.Errorf("%s: %q after %d turns, want %q after %d", test.name, r.Verdict(), len(r.Ratios), test.verdict, len(test.ours))
		}
	}
}

func TestResultsWithoutContest(t *testing.T) {
	r := contest.Figure("area", "n", "what", "s", 2, contest.AtMost(1), "")
	if r.Verdict() != "no" {
		t.Error(r.Verdict())
	}
	if r = contest.Figure("area", "n", "what", "s", 2, contest.AtMost(1).For(5, 6), ""); r.Verdict() != "-" || r.Bar.Rows != 5 {
		t.Error(r.Verdict(), r.Bar)
	}
	r = contest.Ratio("area", "n", "what", "s", 4, "peer", 2, contest.AtMost(2.5), "")
	if r.Ratio != 2 || r.Verdict() != "yes" {
		t.Error(r.Ratio, r.Verdict())
	}
	if r.Turns([]float64{2, 3, 1}); r.Ratio != 2 || r.Low != 1 || r.High != 3 || r.Verdict() != "open" {
		t.Errorf("%+v", r)
	}
}

func TestInterval(t *testing.T) {
	ordered := func(n int) (x []float64) {
		for i := range n {
			x = append(x, float64(n-i))
		}
		return x
	}
	// From tables of the sign test.
	for _, test := range []struct {
		n      int
		lo, hi float64
	}{{1, 1, 1}, {3, 1, 3}, {5, 1, 5}, {6, 1, 6}, {8, 1, 8}, {9, 2, 8}, {12, 3, 10}, {15, 4, 12}, {25, 8, 18}, {100, 40, 61}} {
		if lo, hi := contest.Interval(ordered(test.n)); lo != test.lo || hi != test.hi {
			t.Errorf("%d turns: %v to %v, want %v to %v", test.n, lo, hi, test.lo, test.hi)
		}
	}
	if lo, hi := contest.Interval(nil); !math.IsNaN(lo) || !math.IsNaN(hi) {
		t.Error(lo, hi)
	}
}

func TestTurnThatFails(t *testing.T) {
	var log []string
	failure := errors.New("it fell over")
	c := contest.Contest{Ours: turns("a", &log, 1), Peer: contest.Contestant{Name: "b",
		Run: func(context.Context) (contest.Sample, error) { return contest.Sample{}, failure }}}
	if _, err := c.Run(t.Context()); !errors.Is(err, failure) {
		t.Errorf("error %v, want %v", err, failure)
	}
	c.Ours, c.Peer = turns("a", &log, 0), turns("b", &log, 1)
	if _, err := c.Run(t.Context()); err == nil {
		t.Error("a turn that took no time counts")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestMedian(t *testing.T) {
	x := []float64{3, 1, 2}
	if m := contest.Median(x); m != 2 || !slices.Equal(x, []float64{3, 1, 2}) {
		t.Error(m, x)
	}
	if m := contest.Median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Error(m)
	}
	if m := contest.Median(nil); !math.IsNaN(m) {
		t.Error(m)
	}
}

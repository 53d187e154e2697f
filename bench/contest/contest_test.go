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
		bar   *contest.Bar
		ratio float64 // the ratios of the turns are 4, 2 and 1, or one over that
		holds bool
	}{
		{nil, 2, false},
		{contest.AtLeast(2), 2, true},
		{contest.AtLeast(2.1), 2, false},
		{contest.AtMost(0.5), 0.5, true},
		{contest.AtMost(0.4), 0.5, false},
	} {
		var log []string
		c := contest.Contest{Area: "area", Name: "n", Unit: "rows", Bar: test.bar,
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
		if (r.Holds != nil) != (test.bar != nil) || r.Holds != nil && *r.Holds != test.holds {
			t.Errorf("bar %v: ratio %v holds %v, want %v", test.bar, r.Ratio, r.Holds, test.holds)
		}
		if r.Ours != 5 || r.Theirs != 2.5 || r.OursMore["first"] != 2 || r.Unit != "rows/s" {
			t.Errorf("ours %v %v, theirs %v, %s", r.Ours, r.OursMore, r.Theirs, r.Unit)
		}
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

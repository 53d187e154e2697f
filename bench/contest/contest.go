// Package contest measures one program against another, or against the
// machine's own limit, so that the ratio can be trusted on a machine whose
// speed varies: both take turns, A B A B, each turn gives one ratio, and the
// median of the ratios counts.
package contest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// A Sample is what one turn came to.
type Sample struct {
	N    float64            // units done: rows, lookups, requests
	Took time.Duration      // for all of them
	More map[string]float64 // other figures, by name and unit, such as "p99-µs"
}

// Rate is units a second.
func (s Sample) Rate() float64 { return s.N / s.Took.Seconds() }

// A Contestant does the same work as the other one of its contest, each time
// that Run is called. What it needs was set up before.
type Contestant struct {
	Name  string // as in a table: "bbolt"
	Setup string // version and settings, so that others can set it up alike
	Run   func(context.Context) (Sample, error)
}

// A Bar is what a figure is held against.
type Bar struct {
	Value  float64
	AtMost bool // else at least
}

// AtLeast is the bar of what should be large.
func AtLeast(v float64) *Bar { return &Bar{Value: v} }

// AtMost is the bar of what should be small.
func AtMost(v float64) *Bar { return &Bar{Value: v, AtMost: true} }

// Holds reports whether v is on the right side of b.
func (b Bar) Holds(v float64) bool {
	if b.AtMost {
		return v <= b.Value
	}
	return v >= b.Value
}

// A Contest is two contestants and the bar for their ratio.
type Contest struct {
	Area string // "build", "lookup", "http", …: a chapter of the report
	Name string // short and unique in its area, as part of a benchmark's name: "20M/sort"
	What string // a line for people: "build, 20 M rows, against GNU sort"
	Unit string // of N: "rows", "lookups", "requests"

	Ours Contestant
	Peer Contestant // or the floor

	// Bar is for ours over peer: of their rates with AtLeast ("times as fast"),
	// of their times with AtMost ("times the floor"). Nil where none is set.
	Bar *Bar

	Rounds int    // turns of each; 3 if 0
	Note   string // what a reader of the figure must know
}

// A Result is one line of the scorecard.
type Result struct {
	Area string `json:"area"`
	Name string `json:"name"`
	What string `json:"what"`
	Unit string `json:"unit"` // of Ours and Theirs: "rows/s"

	Ours      float64            `json:"ours"`
	OursMore  map[string]float64 `json:"ours_more,omitempty"`
	Peer      string             `json:"peer,omitempty"`
	PeerSetup string             `json:"peer_setup,omitempty"`
	Theirs    float64            `json:"theirs,omitempty"`
	PeerMore  map[string]float64 `json:"theirs_more,omitempty"`

	Ratio  float64   `json:"ratio,omitempty"`  // the median; 0 if there is no peer
	Ratios []float64 `json:"ratios,omitempty"` // of each turn, in order

	// Bar is for Ratio if there is a peer, else for Ours; nil if there is none.
	Bar   *Bar  `json:"bar,omitempty"`
	Holds *bool `json:"holds,omitempty"`

	Note string `json:"note,omitempty"`
}

// Figure is a result without a peer: v, in unit, against an absolute bar,
// which may be nil.
func Figure(area, name, what, unit string, v float64, bar *Bar, note string) Result {
	r := Result{Area: area, Name: name, What: what, Unit: unit, Ours: v, Bar: bar, Note: note}
	r.judge(v)
	return r
}

// Ratio is a result of two figures that were measured elsewhere: ours over
// theirs, both in unit.
func Ratio(area, name, what, unit string, ours float64, peer string, theirs float64, bar *Bar, note string) Result {
	r := Result{Area: area, Name: name, What: what, Unit: unit, Ours: ours, Peer: peer, Theirs: theirs, Ratio: ours / theirs, Bar: bar, Note: note}
	r.judge(r.Ratio)
	return r
}

func (r *Result) judge(v float64) {
	if r.Bar != nil {
		holds := r.Bar.Holds(v)
		r.Holds = &holds
	}
}

// Run lets the contestants take turns. It ends early, with an error, when ctx
// ends or a turn fails.
func (c *Contest) Run(ctx context.Context) (Result, error) {
	rounds := max(c.Rounds, 1)
	if c.Rounds == 0 {
		rounds = 3
	}
	var ours, theirs []Sample
	r := Result{
		Area: c.Area, Name: c.Name, What: c.What, Unit: c.Unit + "/s",
		Peer: c.Peer.Name, PeerSetup: c.Peer.Setup, Bar: c.Bar, Note: c.Note,
	}
	for range rounds {
		a, err := c.turn(ctx, &c.Ours)
		if err != nil {
			return r, err
		}
		b, err := c.turn(ctx, &c.Peer)
		if err != nil {
			return r, err
		}
		ours, theirs = append(ours, a), append(theirs, b)
		r.Ratios = append(r.Ratios, c.ratio(a, b))
	}
	r.Ours, r.OursMore = summary(ours)
	r.Theirs, r.PeerMore = summary(theirs)
	r.Ratio = Median(r.Ratios)
	r.judge(r.Ratio)
	return r, nil
}

func (c *Contest) turn(ctx context.Context, who *Contestant) (Sample, error) {
	if err := ctx.Err(); err != nil {
		return Sample{}, err
	}
	s, err := who.Run(ctx)
	if err != nil {
		return s, fmt.Errorf("%s/%s: %s: %w", c.Area, c.Name, who.Name, err)
	}
	if s.N <= 0 || s.Took <= 0 {
		return s, fmt.Errorf("%s/%s: %s: %v units in %v is no measurement", c.Area, c.Name, who.Name, s.N, s.Took)
	}
	return s, nil
}

// ratio is ours over theirs, of rates or of times; see Contest.Bar.
func (c *Contest) ratio(ours, theirs Sample) float64 {
	if c.Bar != nil && c.Bar.AtMost {
		return theirs.Rate() / ours.Rate()
	}
	return ours.Rate() / theirs.Rate()
}

// summary is the median rate and the medians of the other figures.
func summary(samples []Sample) (rate float64, more map[string]float64) {
	var rates []float64
	values := map[string][]float64{}
	for _, s := range samples {
		rates = append(rates, s.Rate())
		for name, v := range s.More {
			values[name] = append(values[name], v)
		}
	}
	for name, v := range values {
		if more == nil {
			more = map[string]float64{}
		}
		more[name] = Median(v)
	}
	return Median(rates), more
}

// Median is that of x, which may be in any order and is left so; NaN if empty.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Bench runs c as a benchmark: one iteration is one turn of each, and ratio is
// the median over them.
func Bench(b *testing.B, c *Contest) {
	b.Run(c.Name, func(b *testing.B) {
		once := *c
		once.Rounds = 1
		var ratios, ours, theirs []float64
		for b.Loop() {
			r, err := once.Run(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			ratios, ours, theirs = append(ratios, r.Ratio), append(ours, r.Ours), append(theirs, r.Theirs)
		}
		b.ReportMetric(Median(ratios), "ratio")
		b.ReportMetric(Median(ours), c.Unit+"/s")
		b.ReportMetric(Median(theirs), "peer-"+c.Unit+"/s")
	})
}

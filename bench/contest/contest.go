// Package contest measures one program against another, or against the
// machine's own limit, so that the ratio can be trusted on a machine whose
// speed varies: both take turns, A B A B, each turn gives one ratio, and the
// median of the ratios counts. Where they spread too far to tell whether a bar
// holds, the result says that it is open.
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
	AtMost bool  // else at least
	Rows   int64 `json:",omitempty"` // the size that it is for, if that is not what was measured; see For
}

// AtLeast is the bar of what should be large.
func AtLeast(v float64) *Bar { return &Bar{Value: v} }

// AtMost is the bar of what should be small.
func AtMost(v float64) *Bar { return &Bar{Value: v, AtMost: true} }

// For says that b is for tables of rows rows, and that measured is what the
// contest or figure has:
//
//	Bar: contest.AtLeast(10).For(20_000_000, env.Rows)
//
// At any other size the figure is shown beside the bar, but not judged by it,
// with a note. A bar for every size needs no For.
func (b *Bar) For(rows, measured int64) *Bar {
	if rows != measured {
		b.Rows = rows
	}
	return b
}

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
	Rows int64  // size of the table; plots show together what has the same

	Ours Contestant
	Peer Contestant // or the floor

	// Bar is for ours over peer: of their rates with AtLeast ("times as fast"),
	// of their times with AtMost ("times the floor"). Nil where none is set.
	Bar *Bar

	// Rounds is the turns of each; 3 if 0. Where the bar is open behind them,
	// there are up to three times as many.
	Rounds int
	Note   string // what a reader of the figure must know
}

// A Result is one line of the scorecard.
type Result struct {
	Area string `json:"area"`
	Name string `json:"name"`
	What string `json:"what"`
	Unit string `json:"unit"` // of Ours and Theirs: "rows/s"
	Rows int64  `json:"rows,omitempty"`

	Ours      float64            `json:"ours"`
	OursSetup string             `json:"ours_setup,omitempty"`
	OursMore  map[string]float64 `json:"ours_more,omitempty"`
	Peer      string             `json:"peer,omitempty"`
	PeerSetup string             `json:"peer_setup,omitempty"`
	Theirs    float64            `json:"theirs,omitempty"`
	PeerMore  map[string]float64 `json:"theirs_more,omitempty"`

	Ratio  float64   `json:"ratio,omitempty"`  // the median; 0 if there is no peer
	Ratios []float64 `json:"ratios,omitempty"` // of each turn, in order
	Low    float64   `json:"low,omitempty"`    // Interval of Ratios
	High   float64   `json:"high,omitempty"`

	// Bar is for Ratio if there is a peer, else for Ours; nil if there is none.
	// Holds is nil if that is so, or the bar is for another size, or Open: the
	// bar lies between Low and High, or there was one turn, which tells nothing
	// of the spread.
	Bar   *Bar  `json:"bar,omitempty"`
	Holds *bool `json:"holds,omitempty"`
	Open  bool  `json:"open,omitempty"`

	Note string `json:"note,omitempty"`
}

// Figure is a result without a peer: v, in unit, against an absolute bar,
// which may be nil.
func Figure(area, name, what, unit string, v float64, bar *Bar, note string) Result {
	r := Result{Area: area, Name: name, What: what, Unit: unit, Ours: v, Bar: bar, Note: note}
	r.judge(v, v)
	return r
}

// Ratio is a result of two figures that were measured elsewhere: ours over
// theirs, both in unit. Where they were measured in turns, call Turns.
func Ratio(area, name, what, unit string, ours float64, peer string, theirs float64, bar *Bar, note string) Result {
	r := Result{Area: area, Name: name, What: what, Unit: unit, Ours: ours, Peer: peer, Theirs: theirs, Ratio: ours / theirs, Bar: bar, Note: note}
	r.judge(r.Ratio, r.Ratio)
	return r
}

// Turns makes the median of ratios, which are those of the turns in order, the
// ratio of r, and judges it by them.
func (r *Result) Turns(ratios []float64) {
	r.Ratios, r.Ratio = ratios, Median(ratios)
	r.Low, r.High = Interval(ratios)
	r.judge(r.Low, r.High)
}

// judge is by where the figure lies.
func (r *Result) judge(lo, hi float64) {
	r.Holds, r.Open = nil, false
	if r.Bar == nil || r.Bar.Rows > 0 {
		return
	}
	holds := r.Bar.Holds(lo)
	if r.Open = len(r.Ratios) == 1 || holds != r.Bar.Holds(hi); !r.Open {
		r.Holds = &holds
	}
}

// Verdict is "yes", "no" or "open", or "-" if the bar is for another size;
// empty if there is no bar.
func (r *Result) Verdict() string {
	switch {
	case r.Open:
		return "open"
	case r.Bar != nil && r.Bar.Rows > 0:
		return "-"
	case r.Holds == nil:
		return ""
	case *r.Holds:
		return "yes"
	}
	return "no"
}

// Turns beyond Rounds: not after more than moreTime, and Rounds at a time,
// since whoever looks after each turn stops at the first lucky one.
const (
	mostRounds = 3 // times Rounds
	moreTime   = 90 * time.Second
)

// Run lets the contestants take turns. It ends early, with an error, when ctx
// ends or a turn fails.
func (c *Contest) Run(ctx context.Context) (Result, error) {
	rounds := c.Rounds
	if rounds <= 0 {
		rounds = 3
	}
	r := Result{
		Area: c.Area, Name: c.Name, What: c.What, Unit: c.Unit + "/s", Rows: c.Rows, OursSetup: c.Ours.Setup,
		Peer: c.Peer.Name, PeerSetup: c.Peer.Setup, Bar: c.Bar, Note: c.Note,
	}
	var ours, theirs []Sample
	var ratios []float64
	var took time.Duration
	for part := range mostRounds {
		if part > 0 && (!r.Open || took >= moreTime) {
			break
		}
		for range rounds {
			a, b, err := c.round(ctx)
			if err != nil {
				return r, err
			}
			took += a.Took + b.Took
			ours, theirs, ratios = append(ours, a), append(theirs, b), append(ratios, c.ratio(a, b))
		}
		r.Turns(ratios)
	}
	r.Ours, r.OursMore = summary(ours)
	r.Theirs, r.PeerMore = summary(theirs)
	return r, nil
}

// round is one turn of each.
func (c *Contest) round(ctx context.Context) (ours, theirs Sample, err error) {
	if ours, err = c.turn(ctx, &c.Ours); err != nil {
		return ours, theirs, err
	}
	theirs, err = c.turn(ctx, &c.Peer)
	return ours, theirs, err
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

// Interval is between which two of x the median of all possible turns lies,
// in 95 of 100 cases at least: the sign test's. Fewer than six cannot tell as
// much; then it is their lowest and highest.
func Interval(x []float64) (lo, hi float64) {
	const miss = 0.05
	n := len(x)
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	// The median lies below s[k] if at most k of n turns came out below it,
	// as often as at most k of n coins show heads; and above s[n-1-k] likewise.
	k, heads := 0, math.Pow(2, -float64(n)) // the chance of k heads
	for below := heads; ; k++ {
		heads *= float64(n-k) / float64(k+1)
		if below += heads; 2*below > miss {
			return s[k], s[n-1-k]
		}
	}
}

// Bench runs c as a benchmark: one iteration is one turn of each, and ratio is
// the median over them.
func Bench(b *testing.B, c *Contest) {
	b.Run(c.Name, func(b *testing.B) {
		var ratios, ours, theirs []float64
		for b.Loop() {
			x, y, err := c.round(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			ratios, ours, theirs = append(ratios, c.ratio(x, y)), append(ours, x.Rate()), append(theirs, y.Rate())
		}
		b.ReportMetric(Median(ratios), "ratio")
		b.ReportMetric(Median(ours), c.Unit+"/s")
		b.ReportMetric(Median(theirs), "peer-"+c.Unit+"/s")
	})
}

// Package bench measures promostore against the programs that are used for the
// same work, and against the limits of the machine.
//
// Each suite is a benchmark: BenchmarkBuild, BenchmarkLookup, BenchmarkHTTP,
// BenchmarkLimits, BenchmarkScale, BenchmarkShards, BenchmarkTasks, BenchmarkHistory.
// Run them with "make scorecard", which also writes the tables of docs/benchmarks.md,
// or one at a time:
//
//	ROWS=1000000 go test -run '^$' -bench Lookup/bbolt -benchtime 1x
//
// ROWS is the size of the data set and DIR the directory for large files.
package bench

import (
	"math"
	"slices"
	"testing"
)

// Sample is the result of one round of a subject.
type Sample struct {
	Value   float64            // in the unit of the comparison
	Metrics map[string]float64 // by unit
}

// Subject is one side of a comparison. Run does the work once.
type Subject func(tb testing.TB) Sample

// Target is the least or the greatest value to reach; 0 is none.
type Target struct{ AtLeast, AtMost float64 }

// Comparison measures two subjects in turn, A B A B, because the speed of a
// machine varies by a factor of two from hour to hour, but little from one
// second to the next. Each round has one ratio, and the median counts.
type Comparison struct {
	Unit   string // of the value, such as "rows/s"
	Ours   Subject
	Peer   Subject
	Rounds int    // six or more have an interval of 95 %
	Target Target // of the ratio
}

// Compare runs c and reports as metrics: the median values, those of the peer
// with "peer-" before the unit; the median ratio of our value to the value of
// the peer; and the interval of the ratio. It returns the median values.
func Compare(b *testing.B, c Comparison) (ourMedian, peerMedian float64) {
	var ours, theirs []Sample
	var ratios []float64
	for range c.Rounds {
		x := c.Ours(b)
		y := c.Peer(b)
		if !(x.Value > 0) || !(y.Value > 0) {
			b.Fatalf("no measurement: %v and %v %s", x.Value, y.Value, c.Unit)
		}
		ours, theirs, ratios = append(ours, x), append(theirs, y), append(ratios, x.Value/y.Value)
	}
	ourMedian, peerMedian = report(b, "", c.Unit, ours), report(b, "peer-", c.Unit, theirs)
	low, high := Interval(ratios)
	b.ReportMetric(Median(ratios), "ratio")
	b.ReportMetric(low, "ratio-low")
	b.ReportMetric(high, "ratio-high")
	b.ReportMetric(float64(c.Rounds), "rounds")
	c.Target.report(b)
	return ourMedian, peerMedian
}

// Measure runs a subject without a peer, and reports its medians. The target is
// one of the value.
func Measure(b *testing.B, unit string, s Subject, rounds int, target Target) {
	var samples []Sample
	for range rounds {
		samples = append(samples, s(b))
	}
	report(b, "", unit, samples)
	target.report(b)
}

// report reports the medians of all metrics, and returns the median value.
func report(b *testing.B, prefix, unit string, samples []Sample) float64 {
	b.ReportMetric(0, "ns/op") // leaves it out
	values := map[string][]float64{}
	for _, s := range samples {
		values[unit] = append(values[unit], s.Value)
		for unit, v := range s.Metrics {
			values[unit] = append(values[unit], v)
		}
	}
	for unit, v := range values {
		b.ReportMetric(Median(v), prefix+unit)
	}
	return Median(values[unit])
}

func (t Target) report(b *testing.B) {
	if t.AtLeast > 0 {
		b.ReportMetric(t.AtLeast, "target-min")
	}
	if t.AtMost > 0 {
		b.ReportMetric(t.AtMost, "target-max")
	}
}

// Median returns the median of x; NaN if x is empty.
func Median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Interval returns the 95 % confidence interval of the median of x by the sign
// test. With fewer than six values it returns the lowest and the highest.
func Interval(x []float64) (low, high float64) {
	s := slices.Sorted(slices.Values(x))
	// The median lies below s[k] if at most k of n rounds are below it, which is
	// as likely as at most k heads of n coins; and above s[n-1-k] likewise.
	n := len(s)
	k, heads := 0, math.Pow(2, -float64(n)) // the probability of k heads
	for below := heads; ; k++ {
		heads *= float64(n-k) / float64(k+1)
		if below += heads; 2*below > 0.05 {
			return s[k], s[n-1-k]
		}
	}
}

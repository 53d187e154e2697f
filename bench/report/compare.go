package report

import (
	"cmp"
	"maps"
	"path"
	"slices"

	"promostore/bench/contest"
)

// usName is what we are called in plots and set-ups.
const usName = "promostore"

// A comparison is a plot of us and all peers in one figure of a chapter.
type comparison struct {
	chapter, area string
	names         []string // patterns of path.Match
	unit, title   string
}

var comparisons = []comparison{
	{"build", "build", []string{"*"}, "rows/s", "Build: rows a second"},
	{"build", "bytes", []string{"*"}, "bytes/row", "Bytes a record in the file"},
	{"lookup", "lookup", []string{"*", "floor/*"}, "lookups/s", "Lookups a second, one after the other"},
	{"http", "http", []string{"get/*"}, "requests/s", "GET over loopback: requests a second"},
	{"limits", "limits", []string{"larger-than-memory/*"}, "lookups/s", "Lookups a second in a file larger than memory"},
}

// floors are the contestants that do the least that must be done.
var floors = []string{"floor", "constant", "pread", "pread in Go", "entropy"}

// selves are contestants that are us under other conditions.
var selves = []string{"in memory", "one at a time", "v4"}

// A section is what was measured at one size, best first.
type section struct {
	rows   int64 // 0: not known, or of no matter
	values []value
}

// A value is one bar of a plot.
type value struct {
	name        string
	v           float64
	ours, floor bool
}

// sections are the results that c compares, by size, the largest first. Ours
// is the median of all contests; each peer is where its ratio puts it, since
// the machine may have been faster or slower in its contest than in others.
func (c *comparison) sections(results []contest.Result) []section {
	byRows := map[int64][]*contest.Result{}
	for i := range results {
		r := &results[i]
		if !unmeasured(r) && r.Area == c.area && r.Unit == c.unit && !slices.Contains(selves, r.Peer) && c.matches(r.Name) {
			byRows[r.Rows] = append(byRows[r.Rows], r)
		}
	}
	var all []section
	for _, rows := range slices.Backward(slices.Sorted(maps.Keys(byRows))) {
		s := section{rows: rows, values: values(byRows[rows])}
		slices.SortStableFunc(s.values, func(a, b value) int { return cmp.Compare(b.v, a.v) })
		all = append(all, s)
	}
	return all
}

func values(results []*contest.Result) (list []value) {
	var own []float64
	for _, r := range results {
		if r.Peer != "" {
			own = append(own, r.Ours)
		}
	}
	us := contest.Median(own)
	for _, r := range results {
		if r.Peer == "" {
			list = append(list, value{name: r.Name, v: r.Ours, ours: r.Name == usName, floor: slices.Contains(floors, r.Name)})
			continue
		}
		ratio := r.Ratio // of rates
		if r.Bar != nil && r.Bar.AtMost {
			ratio = 1 / ratio
		}
		list = append(list, value{name: r.Peer, v: us / ratio, floor: slices.Contains(floors, r.Peer)})
	}
	if len(own) > 0 {
		list = append(list, value{name: usName, v: us, ours: true})
	}
	return list
}

func (c *comparison) matches(name string) bool {
	return slices.ContainsFunc(c.names, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

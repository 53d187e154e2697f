package building

import (
	"fmt"
	"math"

	"promostore/bench/contest"
)

// sizes is the bytes a row of what each contestant made, by its name.
type sizes struct {
	names []string // in the order in which they came
	bytes map[string]float64
}

// sized are those whose size is of interest, with what they call their file.
var sized = map[string]string{
	"GNU sort": "CSV", "DuckDB": "Parquet", "SQLite": "SQLite", "bbolt": "bbolt", "Pebble": "Pebble", "MariaDB": "MariaDB",
}

func (s *sizes) add(r *contest.Result) {
	if v, there := r.OursMore[bytesPerRow]; there {
		s.set("promostore", v)
	}
	if v, there := r.PeerMore[bytesPerRow]; there && sized[r.Peer] != "" {
		s.set(sized[r.Peer], v)
	}
}

// set keeps the first figure of each.
func (s *sizes) set(name string, v float64) {
	if _, there := s.bytes[name]; there {
		return
	}
	if s.bytes == nil {
		s.bytes = map[string]float64{}
	}
	s.names, s.bytes[name] = append(s.names, name), v
}

func (s *sizes) report(rows int64, report func(contest.Result)) {
	const area, unit = "bytes", "bytes/row"
	for _, name := range s.names {
		report(contest.Figure(area, name, "a record in the file: "+name, unit, s.bytes[name], nil, ""))
	}
	report(contest.Figure(area, "entropy", fmt.Sprintf("the ids of a set of %s, at least", contest.Count(rows)), unit, entropy(rows), nil,
		"122 random bits each, less log2 n! for their order, which is known; price and date are left out"))
}

// idBits is how many bits of a version 4 UUID are random.
const idBits = 122

// entropy is the bytes an id that a set of n random ids takes at the least.
func entropy(n int64) float64 {
	factorial, _ := math.Lgamma(float64(n) + 1)
	return (idBits - factorial/math.Ln2/float64(n)) / 8
}

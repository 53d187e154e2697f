package learned

import (
	"math/bits"

	"promostore/format"
)

// A Model predicts the rank of a key. It is immutable, so safe for concurrent
// use.
type Model struct {
	first, span format.Key // the model covers the keys k with first <= k < first+span
	shift       uint       // leading zeros of span
	scale       uint64     // number of segments that 2^64 positions would make
	records     int        // in the file
	segments    []segment

	// The coarse model: the rank at the start of every 2^coarseShift segments,
	// and after the last. Models trained from fences have none.
	coarse      []uint64
	coarseShift uint

	prefixLen uint
}

// A segment is one cache line.
type segment struct {
	base      uint64         // rank at the start << countBits | number of records
	residuals [numKnots]int8 // rank at each knot, minus the rank on the straight line
}

const (
	numKnots     = 56           // both ends of the segment included
	numIntervals = numKnots - 1 // between knots

	countBits = 24 // leaves 40 bits for ranks: format.MaxRecords
	countMask = 1<<countBits - 1
)

// A Position is the scaled distance of a key from the model's first key. Keys
// that differ in their last bits only can have the same position.
type Position uint64

// Predict returns the predicted rank of key, and whether the model covers key.
func (m *Model) Predict(key format.Key) (rank int, ok bool) {
	x, ok := m.Position(key)
	return m.PredictAt(x), ok
}

// Position returns the position of key, and whether the model covers key.
func (m *Model) Position(key format.Key) (x Position, ok bool) {
	d := minus(key, m.first) // wraps around before first, to values above span
	return Position(d.Bits(m.shift)), d.Less(m.span)
}

// segment returns the number of the segment that x lies in, and the distance of
// x from its start as a fraction of 2^64. The number is too high for positions
// that the model does not cover.
func (m *Model) segment(x Position) (i, within uint64) { return bits.Mul64(uint64(x), m.scale) }

// PredictAt returns the predicted rank of a key at x. Past the last segment it
// is the number of records.
func (m *Model) PredictAt(x Position) int {
	i, within := m.segment(x)
	if i >= uint64(len(m.segments)) {
		return m.records
	}
	s := &m.segments[i]
	line, _ := bits.Mul64(within, s.base&countMask)
	knot, within := bits.Mul64(within, numIntervals)
	lo, hi := int(s.residuals[knot]), int(s.residuals[knot+1])
	return int(s.base>>countBits) + int(line) + lo + (hi-lo)*int(within>>32)>>32
}

// PredictCoarse returns the rank of a key at x as the coarse model predicts it,
// limited to the records of the file. In 100 M random keys it is off by 27
// records, so nearly always in the right page. The model must have been trained
// from records.
func (m *Model) PredictCoarse(x Position) int {
	i, within := m.segment(x)
	c := i >> m.coarseShift
	if c+1 >= uint64(len(m.coarse)) {
		return m.records - 1
	}
	lo, hi := m.coarse[c], m.coarse[c+1]
	line, _ := bits.Mul64(i<<(64-m.coarseShift)|within>>m.coarseShift, hi-lo)
	return min(int(lo+line), m.records-1)
}

// Load reads the segment of x, so that a PredictAt which follows finds it in
// the cache. The result means nothing; use it to keep the read in the program.
func (m *Model) Load(x Position) uint64 {
	if i, _ := m.segment(x); i < uint64(len(m.segments)) {
		return m.segments[i].base
	}
	return 0
}

// WindowLen is the number of records in a window: four cache lines, which hold
// nearly all keys, since predictions are off by 1.7 records (root mean square)
// where keys are uniform. The processor reads the lines at the same time, but
// not for free: two lines of a random page take 1.07 times as long as one, four
// 1.15, eight 1.26.
const WindowLen = 8

// Window returns the number of the first record of the window around the
// predicted rank of a key at x. There must be WindowLen records.
func (m *Model) Window(x Position) int { return m.clamp(m.PredictAt(x) - WindowLen/2 + 1) }

// Correct returns the first record of the window to search next, when a key at
// x is not in the window that begins with record from. first is the key of that
// record; after reports that the key sorts after the whole window rather than
// before it.
//
// The error at the key first is now known; the error at x is usually the same.
func (m *Model) Correct(x Position, from int, first format.Key, after bool) int {
	to := from
	if at, ok := m.Position(first); ok {
		to += m.PredictAt(x) - m.PredictAt(at) - WindowLen/2 + 1
	}
	if after {
		return m.clamp(max(to, from+WindowLen))
	}
	return m.clamp(min(to, from-WindowLen))
}

// clamp returns the nearest record to from where a window can begin. A cache
// line holds two records, so it is an even one.
func (m *Model) clamp(from int) int { return max(min(from, m.records-WindowLen), 0) &^ 1 }

// PrefixLen returns the number of leading bytes that all keys of the model
// share, at most 8. The 8 bytes after them order most keys.
func (m *Model) PrefixLen() uint { return m.prefixLen }

// minus returns k - o, modulo 2^128.
func minus(k, o format.Key) format.Key {
	lo, borrow := bits.Sub64(k.Lo, o.Lo, 0)
	hi, _ := bits.Sub64(k.Hi, o.Hi, borrow)
	return format.Key{Hi: hi, Lo: lo}
}

// plus returns k + o, modulo 2^128, and whether the sum wrapped around.
func plus(k, o format.Key) (sum format.Key, overflow bool) {
	lo, carry := bits.Add64(k.Lo, o.Lo, 0)
	hi, carry := bits.Add64(k.Hi, o.Hi, carry)
	return format.Key{Hi: hi, Lo: lo}, carry > 0
}

package learned

import (
	"math/bits"

	"promostore/format"
)

const (
	// Records a segment, on average. They decide the size of a model: 1/64 and
	// 1/16 byte per record.
	recordsPerSegmentFences  = 1 << 12
	recordsPerSegmentRecords = 1 << 10

	// minCoarseShift keeps the coarse model of a small file, which gains less
	// from it, small.
	minCoarseShift = 2

	// maxCoarse limits the ranks of a coarse model to 128 KiB.
	maxCoarse = 16 << 10
)

// A Trainer builds a Model in one pass over the keys of a file, in ascending
// order. It notes the rank at each knot as the keys pass it.
type Trainer struct {
	model     *Model
	maxCoarse int // ranks of the coarse model; 0: there is none

	next           uint64        // number of the next knot, counted from the start of the model
	at, atFraction uint64        // its position, with 64 binary places
	step, fraction uint64        // from knot to knot, likewise
	limit          format.Key    // the smallest key at or after the next knot
	noLimit        bool          // the next knot lies above the largest possible key; limit is meaningless
	ranks          [numKnots]int // at the knots of the segment of next

	x    Position // of the last fence
	rank int      // of the last fence, or the records so far
}

// FromFences returns a Trainer for a model that learns from the fences of a
// file, by Fence. first and last, first < last, are the fences of the second and
// the last block.
func FromFences(first, last format.Key, records int) *Trainer {
	return newTrainer(first, last, records, recordsPerSegmentFences)
}

// FromRecords returns a Trainer for a model that learns from all records of a
// file, by Records. The arguments are those of FromFences.
func FromRecords(first, last format.Key, records int) *Trainer {
	t := newTrainer(first, last, records, recordsPerSegmentRecords)
	t.maxCoarse = maxCoarse
	return t
}

func newTrainer(first, last format.Key, records, perSegment int) *Trainer {
	m := &Model{first: first, span: minus(last, first), records: records}
	m.prefixLen = uint(min(first.CommonPrefix(last)/8, 8))
	m.shift = uint(m.span.CommonPrefix(format.Key{}))
	end := m.span.Bits(m.shift)
	m.scale, _ = bits.Div64(uint64(records/perSegment+1), 0, end)
	top, _ := bits.Mul64(end, m.scale)
	m.segments = make([]segment, top+1)

	t := &Trainer{model: m}
	knots := m.scale * numIntervals // in 2^64 positions
	rest := uint64(0)
	t.step, rest = bits.Div64(1, 0, knots)
	t.fraction, _ = bits.Div64(rest, 0, knots)
	t.knot(format.RecordsPerBlock) // the rank of first
	return t
}

// Fence notes that rank records sort before key. Between two fences the rank is
// taken to rise linearly. Keys that the model does not cover change nothing.
func (t *Trainer) Fence(key format.Key, rank int) {
	d := minus(key, t.model.first)
	if t.model.span.Less(d) {
		return
	}
	x := Position(d.Bits(t.model.shift))
	for t.next <= t.lastKnot() && t.at <= uint64(x) {
		share := float64(t.at-uint64(t.x)) / float64(x-t.x)
		t.knot(t.rank + int(share*float64(rank-t.rank)))
	}
	t.x, t.rank = x, rank
}

// Records notes the next records of the file. The first call begins with the
// first record.
func (t *Trainer) Records(records []format.Record) {
	hi := t.limit.Hi
	for i := range records {
		if records[i].Key().Hi < hi { // nearly all
			continue
		}
		for !t.noLimit && !records[i].Key().Less(t.limit) && t.next <= t.lastKnot() {
			t.knot(t.rank + i)
		}
		hi = t.limit.Hi
	}
	t.rank += len(records)
}

// Model returns the model, after the last fence or record.
func (t *Trainer) Model() *Model {
	// The last segment extends past the last key. Its knots there continue
	// with the average of the file.
	perKnot := float64(t.rank) / float64(t.next)
	for i := 1; t.next <= t.lastKnot(); i++ {
		t.knot(t.rank + int(perKnot*float64(i)))
	}
	if t.maxCoarse > 0 {
		t.model.makeCoarse(t.maxCoarse)
	}
	return t.model
}

// lastKnot returns the number of the last knot of the model.
func (t *Trainer) lastKnot() uint64 { return uint64(len(t.model.segments)) * numIntervals }

// knot sets the rank at the next knot. The last knot of a segment is also the
// first of the next one.
func (t *Trainer) knot(rank int) {
	i := t.next % numIntervals
	if i == 0 && t.next > 0 {
		t.ranks[numIntervals] = rank
		t.model.segments[t.next/numIntervals-1] = makeSegment(&t.ranks)
	}
	t.ranks[i] = rank
	t.next++
	carry := uint64(0)
	t.atFraction, carry = bits.Add64(t.atFraction, t.fraction, 0)
	t.at += t.step + carry
	// The inverse of Position.
	s := t.model.shift
	d := format.Key{Hi: t.at >> s, Lo: t.at<<(64-s) | t.at>>(s-64)}
	overflow := false
	t.limit, overflow = plus(d, t.model.first)
	t.noLimit = t.noLimit || overflow // the last segment can end above the largest possible key
}

// makeSegment returns the segment with these ranks at its knots.
func makeSegment(ranks *[numKnots]int) (s segment) {
	n := ranks[numIntervals] - ranks[0]
	s.base = uint64(ranks[0])<<countBits | uint64(min(n, countMask))
	for i := range s.residuals {
		s.residuals[i] = int8(max(min(ranks[i]-ranks[0]-n*i/numIntervals, 127), -128))
	}
	return s
}

// makeCoarse makes the coarse model from the segments, with at most that many
// ranks.
func (m *Model) makeCoarse(most int) {
	for m.coarseShift = minCoarseShift; len(m.segments)>>m.coarseShift >= most; m.coarseShift++ {
	}
	m.coarse = make([]uint64, 0, len(m.segments)>>m.coarseShift+2)
	for i := 0; i < len(m.segments); i += 1 << m.coarseShift {
		m.coarse = append(m.coarse, m.segments[i].base>>countBits)
	}
	// Fewer than 2^coarseShift segments may follow the last rank. The one
	// after it is extrapolated, as if the missing segments were like them.
	last := m.segments[len(m.segments)-1].base
	start := m.coarse[len(m.coarse)-1]
	segments := uint64(len(m.segments)) - uint64(len(m.coarse)-1)<<m.coarseShift
	m.coarse = append(m.coarse, start+(last>>countBits+last&countMask-start)<<m.coarseShift/segments)
}

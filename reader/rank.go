package reader

import (
	"math/bits"

	"promostore/format"
)

// A rankTable tells about where in the file a key is: how many records sort
// before it. It is a guess to begin with, not an answer.
//
// The keys that it is for, counted from the first, are stretched over 64 bits
// and cut into lines of equal width, and a line into slots. A line knows the
// rank at its start, the records in it, and how far the rank at each border of
// its slots is from a straight line. So where ids are spread evenly, the guess
// is off by the root of a sixth of the records of a slot.
//
// It is learned from the fences when a file is opened, and in a mapping that
// is verified a finer one from the records themselves.
type rankTable struct {
	first, span format.Key // it is for the keys from first until before first+span
	shift       uint       // leading zeros of span
	scale       uint64     // lines that 2^64 positions would have
	lines       []rankLine
	starts      []uint64 // rank at the start of each 2^perStart lines, and behind them; only in the fine table
	perStart    uint
	records     int
	skip        uint // leading bytes of all keys that tell nothing, 8 at most
}

// A rankLine is one cache line.
type rankLine struct {
	base  uint64 // rank at the start << numBits | records
	bends [lineSlots + 1]int8
}

const (
	lineSlots = 55

	numBits = 24 // for up to 2^40 records
	numMask = 1<<numBits - 1

	// recordsFine and recordsCoarse are the records of a line on average. The
	// fine table takes 1/16 byte a record, the coarse one 1/64.
	recordsFine   = 1 << 10
	recordsCoarse = 1 << 12

	// minPerStart keeps the starts of a small table, which pay less, small.
	minPerStart = 2

	// maxStarts is how many entries stay in the nearer caches, 128 KiB.
	maxStarts = 16 << 10
)

// newRankTable is a table for the keys from first to before last, which is
// behind it, with nothing learned yet.
func newRankTable(first, last format.Key, records, perLine int) *rankTable {
	t := &rankTable{first: first, span: minus(last, first), records: records}
	t.skip = uint(min(first.CommonPrefix(last)/8, 8))
	t.shift = uint(t.span.CommonPrefix(format.Key{}))
	end := bitsFrom(t.span, t.shift)
	t.scale, _ = bits.Div64(uint64(records/perLine+1), 0, end)
	top, _ := bits.Mul64(end, t.scale)
	t.lines = make([]rankLine, top+1)
	return t
}

// position is where in the table key is, and whether it is for it.
func (t *rankTable) position(key format.Key) (x uint64, ok bool) {
	d := minus(key, t.first) // a key before first becomes one behind all
	return bitsFrom(d, t.shift), d.Less(t.span)
}

// line is the number of the line that a position is in, or would be if there
// were so many, and where in its width, which is 2^64.
func (t *rankTable) line(x uint64) (i, within uint64) { return bits.Mul64(x, t.scale) }

// guess is the rank that a key with this position seems to have. It may be
// beyond those that there are.
func (t *rankTable) guess(x uint64) int {
	i, within := t.line(x)
	if i >= uint64(len(t.lines)) {
		return t.records
	}
	l := &t.lines[i]
	straight, _ := bits.Mul64(within, l.base&numMask)
	slot, within := bits.Mul64(within, lineSlots)
	lo, hi := int(l.bends[slot]), int(l.bends[slot+1])
	return int(l.base>>numBits) + int(straight) + lo + (hi-lo)*int(within>>32)>>32
}

// about is a record near the one that guess gives, told by starts alone: in
// 100 M random ids it is off by 27, so it is in the same page as a rule.
func (t *rankTable) about(x uint64) int {
	i, within := t.line(x)
	start := i >> t.perStart
	if start+1 >= uint64(len(t.starts)) {
		return t.records - 1
	}
	lo, hi := t.starts[start], t.starts[start+1]
	more, _ := bits.Mul64(i<<(64-t.perStart)|within>>t.perStart, hi-lo)
	return min(int(lo+more), t.records-1)
}

// minus is k - o, modulo 2^128.
func minus(k, o format.Key) format.Key {
	lo, borrow := bits.Sub64(k.Lo, o.Lo, 0)
	hi, _ := bits.Sub64(k.Hi, o.Hi, borrow)
	return format.Key{Hi: hi, Lo: lo}
}

// bitsFrom is the 64 bits of k that begin at bit from, 0 to 128, filled up
// with zeros. A shift of 64 or more, and so a negative one, gives zero.
func bitsFrom(k format.Key, from uint) uint64 {
	return k.Hi<<from | k.Lo>>(64-from) | k.Lo<<(from-64)
}

// A ranker fills a rankTable, from the borders of its slots in their order.
type ranker struct {
	table *rankTable

	next           uint64             // the next border: slots since the start of the table
	at, atPart     uint64             // its position, with 64 bits behind the point
	step, stepPart uint64             // from border to border, alike
	limit          format.Key         // the next border as a key
	behind         bool               // all keys: there is no such key, and limit means nothing
	ranks          [lineSlots + 1]int // at the borders of the line that next is in

	x    uint64 // of the last sample
	rank int
}

func newRanker(t *rankTable) *ranker {
	l := &ranker{table: t}
	slots := t.scale * lineSlots
	rest := uint64(0)
	l.step, rest = bits.Div64(1, 0, slots)
	l.stepPart, _ = bits.Div64(rest, 0, slots)
	l.rank = format.RecordsPerBlock // of fence 1, where the table begins
	l.border(l.rank)
	l.rank = 0
	return l
}

// borders is how many there are behind the first.
func (l *ranker) borders() uint64 { return uint64(len(l.table.lines)) * lineSlots }

// border notes that the next border has rank records before it.
func (l *ranker) border(rank int) {
	slot := l.next % lineSlots
	if slot == 0 && l.next > 0 {
		l.ranks[lineSlots] = rank
		l.table.lines[l.next/lineSlots-1] = makeLine(&l.ranks)
	}
	l.ranks[slot] = rank
	l.next++
	carry := uint64(0)
	l.atPart, carry = bits.Add64(l.atPart, l.stepPart, 0)
	l.at += l.step + carry
	// The key of a position: its bits at the place where position took them.
	s := l.table.shift
	k := format.Key{Hi: l.at >> s, Lo: l.at<<(64-s) | l.at>>(s-64)}
	lo, carry := bits.Add64(k.Lo, l.table.first.Lo, 0)
	hi, carry := bits.Add64(k.Hi, l.table.first.Hi, carry)
	l.limit = format.Key{Hi: hi, Lo: lo}
	l.behind = l.behind || carry > 0 // the last line may end behind the last key that there can be
}

// makeLine is a line with these ranks at its borders.
func makeLine(ranks *[lineSlots + 1]int) (l rankLine) {
	n := ranks[lineSlots] - ranks[0]
	l.base = uint64(ranks[0])<<numBits | uint64(min(n, numMask))
	for i := range l.bends {
		l.bends[i] = int8(max(min(ranks[i]-ranks[0]-n*i/lineSlots, 127), -128))
	}
	return l
}

// sample learns from a key that has rank records before it; in between, ranks
// are taken to rise evenly. Keys must come in ascending order.
func (l *ranker) sample(key format.Key, rank int) {
	d := minus(key, l.table.first)
	if l.table.span.Less(d) {
		return
	}
	x := bitsFrom(d, l.table.shift)
	for l.next <= l.borders() && l.at <= x {
		share := float64(l.at-l.x) / float64(x-l.x)
		l.border(l.rank + int(share*float64(rank-l.rank)))
	}
	l.x, l.rank = x, rank
}

// learn learns from records that follow those of the last call. Nearly all are
// before the next border by the first half of their ids.
func (l *ranker) learn(records []format.Record) {
	hi := l.limit.Hi
	for i := range records {
		if records[i].Key().Hi < hi {
			continue
		}
		for !l.behind && !records[i].Key().Less(l.limit) && l.next <= l.borders() {
			l.border(l.rank + i)
		}
		hi = l.limit.Hi
	}
	l.rank += len(records)
}

// done is the table, once everything has been shown that there is.
func (l *ranker) done() *rankTable {
	// The last line goes on beyond the last key as it came there.
	perSlot := float64(l.rank) / float64(l.next)
	for i := 1; l.next <= l.borders(); i++ {
		l.border(l.rank + int(perSlot*float64(i)))
	}
	return l.table
}

// findStarts makes most starts at most from the lines.
func (t *rankTable) findStarts(most int) {
	for t.perStart = minPerStart; len(t.lines)>>t.perStart >= most; t.perStart++ {
	}
	t.starts = make([]uint64, 0, len(t.lines)>>t.perStart+2)
	for i := 0; i < len(t.lines); i += 1 << t.perStart {
		t.starts = append(t.starts, t.lines[i].base>>numBits)
	}
	// Behind the last start there may be fewer lines, and then as many more as
	// would be like them.
	last := t.lines[len(t.lines)-1].base
	start := t.starts[len(t.starts)-1]
	lines := uint64(len(t.lines)) - uint64(len(t.starts)-1)<<t.perStart
	t.starts = append(t.starts, start+(last>>numBits+last&numMask-start)<<t.perStart/lines)
}

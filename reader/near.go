package reader

import (
	"encoding/binary"
	"math/bits"
	"runtime"
	"runtime/debug"

	"promostore/format"
)

const (
	// narrow is how many records findNear copies at once: four cache lines,
	// which hold nearly all ids, as the guess is off by 1.7 records. The lines
	// are read at the same time, but that is not free: two lines of a random
	// page take 1.07 times as long as one, four 1.15, eight 1.26.
	narrow = 8

	// nearTries is how often findNear looks before it leaves it to find.
	nearTries = 4
)

// findNear copies the record of key to r if it finds it near where t guesses.
// x is its position in t. If it is not known whether the file has it, find
// must decide.
//
// In 10 M random ids it takes 1.5 to 1.6 times one dependent read of the
// mapping (BenchmarkGet, mmap/chained). Windows of 12 and 16 records are 0 to
// 10 % slower; reading the mapping through a pointer saves 2 %.
func (m *mapping) findNear(key format.Key, t *rankTable, x uint64, r *format.Record) (found, known bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	m.touch(t.about(x))
	from := t.firstWindow(x)
	var w window
	for range nearTries {
		if err := m.read(w[:], format.BlockOff(0)+int64(from)*format.RecordLen); err != nil {
			return false, false, err
		}
		n := w.rank(key, t.skip)
		if n < narrow && w.key(n) == key {
			copy(r[:], w[n*format.RecordLen:])
			return true, true, nil
		}
		if 0 < n && n < narrow {
			return false, w.between(n, key), nil
		}
		from = t.again(x, &w, n, from)
	}
	return false, false, nil
}

// touch begins to read a record, so that the processor looks for the address
// of its page while it still waits for the line of the table that says which
// record of the page to read. In 100 M random ids, where that line is in no
// cache, a lookup takes 1.3 times one read in place of 1.55; in 10 M it saves
// 1 to 2 %.
func (m *mapping) touch(record int) {
	if off := format.HeaderLen + record*format.RecordLen; off < m.at.Len() { // not closed
		runtime.KeepAlive(m.at.At(off))
	}
}

// A window is a copy of some neighbouring records.
type window [narrow * format.RecordLen]byte

// key is that of record i.
func (w *window) key(i int) format.Key { return format.KeyAt(w[i*format.RecordLen:]) }

// rank is how many records of w sort before key, by the eight bytes behind the
// first skip alone. It has no branches: where in w a key is cannot be predicted.
func (w *window) rank(key format.Key, skip uint) int {
	k := bitsFrom(key, 8*skip)
	b := w[skip:][:len(w)-format.RecordLen+8]
	return before(b, 0, k) + before(b, 1, k) + before(b, 2, k) + before(b, 3, k) +
		before(b, 4, k) + before(b, 5, k) + before(b, 6, k) + before(b, 7, k)
}

// before is 1 if the bytes of record i sort before k, else 0.
func before(b []byte, i int, k uint64) int {
	_, borrow := bits.Sub64(binary.BigEndian.Uint64(b[i*format.RecordLen:]), k, 0)
	return int(borrow)
}

// between reports whether key would stand before record n if it were there. An
// id of zeros is a page that was cut off, unless it is the first of the file.
func (w *window) between(n int, key format.Key) bool {
	last := w.key(n - 1)
	return last.Less(key) && key.Less(w.key(n)) && last != format.Key{}
}

// firstWindow is the record with which the window begins that is looked at
// first for the key with position x.
func (t *rankTable) firstWindow(x uint64) int { return t.clamp(t.guess(x) - narrow/2 + 1) }

// clamp is the nearest record to from where a window can begin. Records are in
// pairs in a cache line.
func (t *rankTable) clamp(from int) int { return max(min(from, t.records-narrow), 0) &^ 1 }

// again is where to look next for the key with position x, when all or none of
// w, which begins with record from, sort before it.
func (t *rankTable) again(x uint64, w *window, n, from int) int {
	to := from
	if at, ok := t.position(w.key(0)); ok {
		to += t.guess(x) - t.guess(at) - narrow/2 + 1
	}
	if n == 0 {
		return t.clamp(min(to, from-narrow))
	}
	return t.clamp(max(to, from+narrow))
}

package reader

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/exp/mmap"

	"promostore/format"
)

// A mapping is a file in memory. It gives no slices, only copies.
type mapping struct{ at *mmap.ReaderAt }

// openMapping maps the file that is open as f, which has size bytes.
func openMapping(f *os.File, size int64) (*mapping, error) {
	at, err := mmap.Open(reopenPath(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, reopenError(err)
	}
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w (is there a limit, as of ulimit -v or vm.max_map_count?)", size, err)
	}
	if int64(at.Len()) != size {
		return nil, errors.Join(fmt.Errorf("%w: %d bytes, a moment ago %d", ErrFault, at.Len(), size), at.Close())
	}
	return &mapping{at}, nil
}

func (m *mapping) close() error { return m.at.Close() }

// read copies len(b) bytes at off, which must be in the file.
func (m *mapping) read(b []byte, off int64) error {
	if _, err := m.at.ReadAt(b, off); err != nil {
		return fmt.Errorf("%w: %w", os.ErrClosed, err)
	}
	return nil
}

const (
	// wide is how many records find copies out of the mapping at once.
	wide = 16

	// narrow is the same for findNear: two cache lines. 2, 6 and 8 records
	// were within 3 % of it.
	narrow = 4

	// nearTries is how often findNear looks before it leaves it to find.
	nearTries = 4
)

// find copies the record of key, which must be in the block if it is in the
// file, to r.
func (m *mapping) find(key format.Key, s *span, r *format.Record) (found bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	var buf [wide * format.RecordLen]byte
	lo, hi := 0, s.n
	from := s.guess(key) - wide/2
	// The record is in [lo,hi), if anywhere. Each turn takes wide records off,
	// or all. First the neighbours of a near miss, then halves.
	for try := 0; ; try++ {
		from = max(min(from, hi-wide), lo)
		to := min(from+wide, hi)
		w := buf[:(to-from)*format.RecordLen]
		if err := m.read(w, format.BlockOff(s.block)+int64(from)*format.RecordLen); err != nil {
			return false, err
		}
		i := lowerBound(w, key)
		if i < to-from && format.KeyAt(w[i*format.RecordLen:]) == key {
			copy(r[:], w[i*format.RecordLen:])
			return true, nil
		}
		switch {
		case i == 0 && lo < from:
			hi = from
		case i == to-from && to < hi:
			lo = to
		default:
			return false, s.absent(w, i)
		}
		if try > 0 {
			from = (lo+hi)/2 - wide/2
		} else if i == 0 {
			from -= wide
		} else {
			from += wide
		}
	}
}

// findNear copies the record of key to r if it finds it near where t guesses.
// Otherwise nothing is known.
func (m *mapping) findNear(key format.Key, t *rankTable, r *format.Record) (found bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	// Touch what is probably the page, so that the processor translates its
	// address while it waits for the table: 1.54 times the floor becomes 1.46.
	touched := byte(0)
	if i := format.HeaderLen + min(t.near(key), t.records-1)*format.RecordLen; i < m.at.Len() {
		touched = m.at.At(i)
	}
	rank, num := t.guess(key)
	runtime.KeepAlive(touched)
	from := t.clamp(rank - narrow/2 + 1)
	for range nearTries {
		w, err := m.window(from)
		if err != nil {
			return false, err
		}
		n := w.rank(key)
		if n < narrow && w.key(n) == key {
			copy(r[:], w[n*format.RecordLen:])
			return true, nil
		}
		if 0 < n && n < narrow {
			return false, nil
		}
		from = t.again(key, &w, n, from, num)
	}
	return false, nil
}

// A window is a copy of some neighbouring records.
type window [narrow * format.RecordLen]byte

// window copies the records from this one on.
func (m *mapping) window(from int) (w window, err error) {
	err = m.read(w[:], format.BlockOff(0)+int64(from)*format.RecordLen)
	return w, err
}

// key is that of record i.
func (w *window) key(i int) format.Key { return format.KeyAt(w[i*format.RecordLen:]) }

// rank is how many records of w sort before key. Without a branch: where in w
// a key is cannot be predicted.
func (w *window) rank(key format.Key) int {
	return w.before(0, key) + w.before(1, key) + w.before(2, key) + w.before(3, key)
}

// before is 1 if record i sorts before key, else 0.
func (w *window) before(i int, key format.Key) int {
	k := w.key(i)
	_, borrow := bits.Sub64(k.Lo, key.Lo, 0)
	_, borrow = bits.Sub64(k.Hi, key.Hi, borrow)
	return int(borrow)
}

// clamp is the nearest record to from where a window can begin. Records are in
// pairs in a cache line.
func (t *rankTable) clamp(from int) int { return max(min(from, t.records-narrow), 0) &^ 1 }

// again is where to look for key when it was not in w, which begins with
// record from and has n records, none or all, before key. num is as of guess.
func (t *rankTable) again(key format.Key, w *window, n, from, num int) int {
	off := float64(int64(bitsFrom(key, t.prefix) - bitsFrom(w.key(0), t.prefix)))
	to := from + int(off*t.scale*float64(num)) - narrow/2 + 1
	if n == 0 {
		return t.clamp(min(to, from-narrow))
	}
	return t.clamp(max(to, from+narrow))
}

// recoverFault turns the panic of an access to a page that is not there into
// an error, and restores what SetPanicOnFault was before. A lookup on its own
// is not slower for it; lookups that overlap are, 410 ns against 267.
func recoverFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch v := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		// The runtime calls it a nil pointer. The address says where in the
		// address space the mapping was, which helps nobody.
		*err = fmt.Errorf("%w: a page of its mapping cannot be read", ErrFault)
	default:
		panic(v)
	}
}

// warm touches every page, so that no lookup is the first to do so, until ctx
// ends.
func (m *mapping) warm(ctx context.Context) (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	sum := byte(0)
	for page, i := 0, 0; i < m.at.Len(); page, i = page+1, i+os.Getpagesize() {
		if page%1024 == 0 && ctx.Err() != nil { // 4 MiB, which may come from a disk
			return ctx.Err()
		}
		sum += m.at.At(i)
	}
	runtime.KeepAlive(sum)
	return nil
}

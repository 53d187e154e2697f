package reader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"runtime/debug"

	"promostore/format"
	"promostore/reader/learned"
)

// Get returns a copy of the record of key. It does not allocate.
//
// The error wraps ErrFault if the file was truncated, or is damaged although it
// was verified, ErrChanged if key was not found and the file may have changed,
// ErrUnreadable if a read failed, ErrBusy if the disk is too slow for the
// lookups, and format.ErrCorrupt if the block is damaged.
func (f *File) Get(key format.Key) (r format.Record, found bool, err error) {
	found, err = f.find(key, &r)
	if !found && err == nil {
		err = f.checkUnchanged()
	}
	if err != nil {
		return format.Record{}, false, f.lookupError(key, err)
	}
	return r, found, nil
}

// find copies the record of key to r. A key that is not found may exist if the
// file has changed.
func (f *File) find(key format.Key, r *format.Record) (found bool, err error) {
	decided := false
	if m := f.model.Load(); m != nil {
		if x, ok := m.Position(key); ok {
			found, decided, err = f.mmap.findPredicted(key, m, x, r)
		}
	}
	if !decided && err == nil {
		found, err = f.findByFences(key, r)
	}
	if found && !r.Validate(len(f.index.Styles)) {
		err = fmt.Errorf("%w: price or date is out of its limits", format.ErrCorrupt)
	}
	return found, err
}

// maxWindows is the number of windows that findPredicted searches.
const maxWindows = 4

// findPredicted searches windows around the rank that m predicts for key, whose
// position is x, and copies the record to r. If decided is false, the windows
// were inconclusive and the caller searches the fences.
//
// docs/benchmarks.md compares a lookup with one dependent read of the mapping
// (BenchmarkGet, mmap/chained). Windows of 12 and 16 records are 0 to 10 %
// slower; reading the mapping through a pointer saves 2 %.
func (s *mmapSource) findPredicted(key format.Key, m *learned.Model, x learned.Position, r *format.Record) (found, decided bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	s.touch(m.PredictCoarse(x))
	from := m.Window(x)
	var w window
	for range maxWindows {
		if err := s.read(w[:], format.BlockOff(0)+int64(from)*format.RecordLen); err != nil {
			return false, false, err
		}
		n := w.rank(key, m.PrefixLen())
		if n < learned.WindowLen && w.key(n) == key {
			copy(r[:], w[n*format.RecordLen:])
			return true, true, nil
		}
		if 0 < n && n < learned.WindowLen {
			return false, w.separates(n, key), nil
		}
		from = m.Correct(x, from, w.key(0), n > 0)
	}
	return false, false, nil
}

// touch reads one byte of a record. The processor then translates the address of
// its page while it still waits for the segment of the model, which says which
// record of the page to read. In 100 M random keys, where segments are in no
// cache, this saves 10 to 16 % of a lookup; in 10 M, 1 to 2 %.
func (s *mmapSource) touch(record int) {
	if off := format.HeaderLen + record*format.RecordLen; off < s.at.Len() { // not closed
		runtime.KeepAlive(s.at.At(off))
	}
}

// A window is a copy of consecutive records.
type window [learned.WindowLen * format.RecordLen]byte

// key returns the key of record i.
func (w *window) key(i int) format.Key { return format.KeyAt(w[i*format.RecordLen:]) }

// rank returns the number of records of w that sort before key, judging by the
// 8 bytes after the first prefixLen alone. It has no branches, because the place
// of a key in a window is random and a branch would be mispredicted.
func (w *window) rank(key format.Key, prefixLen uint) int {
	k := key.Bits(8 * prefixLen)
	b := w[prefixLen:][:len(w)-format.RecordLen+8]
	return before(b, 0, k) + before(b, 1, k) + before(b, 2, k) + before(b, 3, k) +
		before(b, 4, k) + before(b, 5, k) + before(b, 6, k) + before(b, 7, k)
}

// before returns 1 if the bytes of record i sort before k, else 0.
func before(b []byte, i int, k uint64) int {
	_, borrow := bits.Sub64(binary.BigEndian.Uint64(b[i*format.RecordLen:]), k, 0)
	return int(borrow)
}

// separates reports whether key sorts between records n-1 and n, so that the
// file does not have it. Pages that were cut off read as zeros, so a key of
// zeros before it proves nothing.
func (w *window) separates(n int, key format.Key) bool {
	last := w.key(n - 1)
	return last.Less(key) && key.Less(w.key(n)) && last != format.Key{}
}

// findByFences copies the record of key to r. It works without a model: it
// finds the block of key among the fences and searches the block.
func (f *File) findByFences(key format.Key, r *format.Record) (found bool, err error) {
	if x := f.index; key.Less(x.MinKey) || x.MaxKey.Less(key) || x.Records == 0 {
		return false, nil
	}
	if f.mmap != nil {
		return f.mmap.find(key, r)
	}
	return f.pread.find(key, r)
}

// lookupError returns err with the key, and with the state of the file if that
// changed.
func (f *File) lookupError(key format.Key, err error) error {
	err = f.pageError(err)
	if errors.Is(err, ErrUnreadable) {
		f.failure.CompareAndSwap(nil, &failure{key})
		return &lookupError{f, key, err}
	}
	if errors.Is(err, format.ErrCorrupt) {
		kind := ErrFault // the block was good before
		if !f.verified.Load() {
			kind = f.checkUnchanged()
		}
		if kind != nil {
			err = fmt.Errorf("%w: %w", kind, err)
		}
	}
	if errors.Is(err, ErrFault) || errors.Is(err, ErrChanged) {
		err = fmt.Errorf("%w; %s", err, f.change())
	}
	return &lookupError{f, key, err}
}

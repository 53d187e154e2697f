package reader

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/exp/mmap"

	"promostore/format"
)

// window is how many records a lookup copies out of the mapping at once.
const window = 16

// A mapping is a file in memory. It gives no slices, only copies.
type mapping struct{ at *mmap.ReaderAt }

// openMapping maps the file that is open as f, whatever has its name by now.
func openMapping(f *os.File, size int64) (*mapping, error) {
	at, err := mmap.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w (is there a limit, as of ulimit -v or vm.max_map_count?)", size, err)
	}
	if int64(at.Len()) != size {
		return nil, errors.Join(fmt.Errorf("%w: %d bytes, a moment ago %d", ErrFault, at.Len(), size), at.Close())
	}
	return &mapping{at}, nil
}

func (m *mapping) close() error { return m.at.Close() }

// find copies the record of key, which must be in the block if it is in the
// file, to r.
func (m *mapping) find(key format.Key, s *span, r *format.Record) (found bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	var buf [window * format.RecordLen]byte
	lo, hi := 0, s.n
	from := s.guess(key) - window/2
	// The record is in [lo,hi), if anywhere.
	for try := 0; ; try++ {
		from = max(min(from, hi-window), lo)
		to := min(from+window, hi)
		w := buf[:(to-from)*format.RecordLen]
		if _, err := m.at.ReadAt(w, format.BlockOff(s.block)+int64(from)*format.RecordLen); err != nil {
			return false, fmt.Errorf("%w: %w", os.ErrClosed, err)
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
			from = (lo+hi)/2 - window/2
		} else if i == 0 {
			from -= window
		} else {
			from += window
		}
	}
}

// recoverFault turns the panic of an access to a page that is not there into
// an error, and restores what SetPanicOnFault was before.
func recoverFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch v := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		*err = fmt.Errorf("%w: %w", ErrFault, v)
	default:
		panic(v)
	}
}

// warm touches every page, so that no lookup is the first to do so.
func (m *mapping) warm() (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	sum := byte(0)
	for i := 0; i < m.at.Len(); i += os.Getpagesize() {
		sum += m.at.At(i)
	}
	runtime.KeepAlive(sum)
	return nil
}

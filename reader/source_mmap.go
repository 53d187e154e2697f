package reader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/exp/mmap"

	"promostore/format"
	"promostore/internal/fsx"
)

// An mmapSource reads records from a mapping of the file. It returns copies,
// never slices of the mapping.
type mmapSource struct {
	at     *mmap.ReaderAt
	index  *format.Index
	fences *fenceIndex
}

// openMmap maps the file that is open as f.
func openMmap(f *os.File, x *format.Index, t *fenceIndex) (*mmapSource, error) {
	size := x.FileLen
	at, err := mmap.Open(reopenPath(f))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, reopenError(err)
	case fsx.IsTooManyOpen(err): // before the file was mapped
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("map %d bytes: %w (possible limits: ulimit -v, vm.max_map_count)", size, err)
	}
	if int64(at.Len()) != size {
		return nil, errors.Join(fmt.Errorf("%w: %d bytes, a moment ago %d", ErrFault, at.Len(), size), at.Close())
	}
	return &mmapSource{at, x, t}, nil
}

func (s *mmapSource) close() error { return s.at.Close() }

// read copies len(b) bytes at off, which must lie within the file.
func (s *mmapSource) read(b []byte, off int64) error {
	if _, err := s.at.ReadAt(b, off); err != nil {
		return fmt.Errorf("%w: %w", os.ErrClosed, err)
	}
	return nil
}

// fence returns the fence of a block. The mapping must be open.
func (s *mmapSource) fence(block int64) format.Key {
	var b [format.KeyLen]byte
	_, _ = s.at.ReadAt(b[:], s.index.FenceOff(block))
	return format.KeyAt(b[:])
}

// span returns the span of the only block that can have key.
func (s *mmapSource) span(key format.Key) span {
	block := s.fences.block(key, func(block int64) bool { return key.Less(s.fence(block)) })
	sp := span{block: block, n: s.index.RecordsIn(block), lo: s.fence(block), hi: s.index.MaxKey}
	if block+1 < s.fences.numBlocks {
		sp.hi = s.fence(block + 1)
	}
	return sp
}

// stepLen is the number of records that find copies from the mapping at once.
const stepLen = 16

// find copies the record of key to r. It finds the block among the fences and
// the record by interpolation. The file must have a block.
func (s *mmapSource) find(key format.Key, r *format.Record) (found bool, err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	if s.at.Len() == 0 {
		return false, os.ErrClosed
	}
	sp := s.span(key)
	var buf [stepLen * format.RecordLen]byte
	lo, hi := 0, sp.n
	from := sp.interpolate(key) - stepLen/2
	// Invariant: if the block has the record, it is one of lo to hi-1. Each
	// step excludes at least stepLen of them, or ends the search. The second
	// step takes the neighbors of the first, the following ones bisect.
	for step := 0; ; step++ {
		from = max(min(from, hi-stepLen), lo)
		to := min(from+stepLen, hi)
		b := buf[:(to-from)*format.RecordLen]
		if err := s.read(b, format.BlockOff(sp.block)+int64(from)*format.RecordLen); err != nil {
			return false, err
		}
		i := lowerBound(b, key)
		if i < to-from && format.KeyAt(b[i*format.RecordLen:]) == key {
			copy(r[:], b[i*format.RecordLen:])
			return true, nil
		}
		switch {
		case i == 0 && lo < from:
			hi = from
		case i == to-from && to < hi:
			lo = to
		default:
			return false, sp.checkAbsent(b, i)
		}
		if step > 0 {
			from = (lo+hi)/2 - stepLen/2
		} else if i == 0 {
			from -= stepLen
		} else {
			from += stepLen
		}
	}
}

// recoverFault turns the panic of a read from a missing page into an error, and
// restores the setting of SetPanicOnFault. It does not slow down lookups of
// which each waits for the one before. Independent lookups in one goroutine,
// whose cache misses the processor overlaps, take 410 ns with it and 267
// without.
func recoverFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch v := recover().(type) {
	case nil:
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		// The text of the runtime calls it a nil pointer, and the address is of
		// no use outside the process.
		*err = errPage
	default:
		panic(v)
	}
}

// warm touches every page, so that no lookup is the first to do so, until ctx
// ends.
func (s *mmapSource) warm(ctx context.Context) (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	sum := byte(0)
	for page, i := 0, 0; i < s.at.Len(); page, i = page+1, i+os.Getpagesize() {
		if page%1024 == 0 && ctx.Err() != nil { // every 4 MiB, which may come from a disk
			return ctx.Err()
		}
		sum += s.at.At(i)
	}
	runtime.KeepAlive(sum)
	return nil
}

package reader

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// blocks is a file that is read a block at a time.
type blocks struct{ file *os.File }

type blockBuffer [format.BlockLen]byte

var blockBuffers = sync.Pool{New: func() any { return new(blockBuffer) }}

// openBlocks opens once more the file that is open as f: the advice holds for
// an open file, and f is for reading in sequence.
func openBlocks(f *os.File) (*blocks, error) {
	file, err := os.Open(reopenPath(f))
	if err != nil {
		return nil, reopenError(err)
	}
	// Without it a lookup in a cold file reads ahead what nobody asked for.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		file.Close()
		return nil, fmt.Errorf("advise %s: %w", f.Name(), err)
	}
	return &blocks{file}, nil
}

func (p *blocks) close() error { return p.file.Close() }

// find copies the record of key, which must be in the block if it is in the
// file, to r.
func (p *blocks) find(key format.Key, s *span, r *format.Record) (found bool, err error) {
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	// The whole block, though the last may have fewer records: a whole page
	// costs no more.
	off := format.BlockOff(s.block)
	if n, err := p.file.ReadAt(buf[:], off); n < len(buf) {
		return false, readError(off+int64(n), err)
	}
	w := buf[:s.n*format.RecordLen]
	i := lowerBound(w, key)
	if i < s.n && format.KeyAt(w[i*format.RecordLen:]) == key {
		copy(r[:], w[i*format.RecordLen:])
		return true, nil
	}
	return false, s.absent(w, i)
}

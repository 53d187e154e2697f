package reader

import (
	"fmt"
	"os"
	"sync"

	"promostore/format"
)

// blocks is a file that is read a block at a time.
//
// Of each fence it keeps the 64 bits that are its position in the table of
// ranks. That is half of the fence, and an order; fences that are alike in it
// are told apart by reading their blocks.
type blocks struct {
	file      *blockFile
	index     *format.Index
	table     *fenceTable
	positions []uint64 // of the fences; that of the first means nothing
}

type blockBuffer [format.BlockLen]byte

var blockBuffers = sync.Pool{New: func() any { return new(blockBuffer) }}

// openBlocks opens once more the file that is open as f: the advice holds for
// an open file, and f is for reading in sequence.
func openBlocks(f *os.File, x *format.Index, t *fenceTable) (*blocks, error) {
	p := &blocks{index: x, table: t}
	if t.ranks != nil {
		p.positions = make([]uint64, 0, t.numBlocks)
		if err := x.Fences(f, func(_ int64, fence format.Key) {
			at, _ := t.ranks.position(fence)
			p.positions = append(p.positions, at)
		}); err != nil {
			return nil, fmt.Errorf("fences: %w", err)
		}
	}
	var err error
	if p.file, err = openBlockFile(f); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *blocks) close() error { return p.file.close() }

// candidates is the blocks that key may be in, from lo to hi: one, unless
// fences have the same position as key.
func (p *blocks) candidates(key format.Key) (lo, hi int64) {
	at := uint64(0)
	if p.table.ranks != nil {
		at, _ = p.table.ranks.position(key)
	}
	hi = p.table.block(key, func(block int64) bool { return p.positions[block] > at })
	if hi == 0 || hi == p.table.numBlocks-1 || p.positions[hi] != at {
		return hi, hi
	}
	// The last that is before all of them.
	return lastNotBehind(0, hi, hi-1, func(block int64) bool { return p.positions[block] >= at }), hi
}

// find copies the record of key to r. There must be one block at least.
func (p *blocks) find(key format.Key, r *format.Record) (found bool, err error) {
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	lo, hi := p.candidates(key)
	// The key is in a block from lo to hi, if anywhere. The last is looked at
	// first where there are two: the one fence that is alike may be the key.
	for {
		block := lo + (hi-lo+1)/2
		w, err := p.read(buf, block)
		if err != nil {
			return false, err
		}
		i := lowerBound(w, key)
		n := len(w) / format.RecordLen
		switch {
		case i < n && format.KeyAt(w[i*format.RecordLen:]) == key:
			copy(r[:], w[i*format.RecordLen:])
			return true, nil
		case i == 0 && block > lo:
			hi = block - 1
		case i == n && block < hi:
			lo = block + 1
		default:
			return false, p.absent(block, w, i)
		}
		if err := p.first(block, w); err != nil {
			return false, err
		}
	}
}

// read is the records of a block. The whole block is read, though the last may
// have fewer: a whole page costs no more.
func (p *blocks) read(buf *blockBuffer, block int64) ([]byte, error) {
	off := format.BlockOff(block)
	if err := p.file.read(buf, off); err != nil {
		return nil, err
	}
	return buf[:p.index.RecordsIn(block)*format.RecordLen], nil
}

// first checks the first id of a block against what is known of its fence. A
// page that was cut off reads as zeros, and shows so.
func (p *blocks) first(block int64, w []byte) error {
	s := span{block: block, lo: format.KeyAt(w), hi: p.index.MaxKey}
	switch first, ranks := s.lo, p.table.ranks; {
	case block == 0 && first != p.index.MinKey:
		return s.wrong(first)
	case ranks == nil && block == 1 && first != p.table.first:
		return s.wrong(first)
	case ranks != nil && block > 0:
		if at, _ := ranks.position(first); at != p.positions[block] || first.Less(p.table.first) || p.table.last.Less(first) {
			return s.wrong(first)
		}
	}
	return nil
}

// absent is the answer when the key of a lookup is not in a block, where it
// would be before record i: nil, or an error if the records around it do not
// belong there.
func (p *blocks) absent(block int64, w []byte, i int) error {
	if err := p.first(block, w); err != nil {
		return err
	}
	s := span{block: block, lo: format.KeyAt(w), hi: p.index.MaxKey}
	return s.absent(w, i)
}

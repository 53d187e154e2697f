package reader

import (
	"fmt"
	"os"

	"promostore/format"
	"promostore/reader/learned"
)

// A preadSource reads records from the file, one block per lookup.
//
// For each fence it keeps a 64-bit position. Fences with equal positions are
// told apart by reading their blocks.
type preadSource struct {
	file      *blockFile
	index     *format.Index
	fences    *fenceIndex
	positions []learned.Position // of the fences; the first means nothing
}

// openPread opens the file again that is open as f. It reads through r, which may
// be nil.
func openPread(f *os.File, x *format.Index, t *fenceIndex, r *ring) (*preadSource, error) {
	s := &preadSource{index: x, fences: t}
	if t.model != nil {
		s.positions = make([]learned.Position, 0, t.numBlocks)
		if err := x.Fences(f, func(_ int64, fence format.Key) {
			at, _ := t.model.Position(fence)
			s.positions = append(s.positions, at)
		}); err != nil {
			return nil, fmt.Errorf("fences: %w", err)
		}
	}
	var err error
	if s.file, err = openBlockFile(f, r); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *preadSource) close() error { return s.file.close() }

// candidates returns the first and the last block that can have key. They are
// the same unless fences have the same position as key.
func (s *preadSource) candidates(key format.Key) (lo, hi int64) {
	at := learned.Position(0)
	if s.fences.model != nil {
		at, _ = s.fences.model.Position(key)
	}
	hi = s.fences.block(key, func(block int64) bool { return s.positions[block] > at })
	if hi == 0 || hi == s.fences.numBlocks-1 || s.positions[hi] != at {
		return hi, hi
	}
	// The last block before all fences at this position.
	return lastNotAfter(0, hi, hi-1, func(block int64) bool { return s.positions[block] >= at }), hi
}

// find copies the record of key to r. The file must have a block.
func (s *preadSource) find(key format.Key, r *format.Record) (found bool, err error) {
	buf := blockBuffers.Get().(*blockBuffer)
	defer blockBuffers.Put(buf)
	lo, hi := s.candidates(key)
	// Invariant: if the file has key, one of the blocks lo to hi has it. If two
	// remain, try the later.
	for {
		block := lo + (hi-lo+1)/2
		b, err := s.read(buf, block)
		if err != nil {
			return false, err
		}
		i := lowerBound(b, key)
		n := len(b) / format.RecordLen
		switch {
		case i < n && format.KeyAt(b[i*format.RecordLen:]) == key:
			copy(r[:], b[i*format.RecordLen:])
			return true, nil
		case i == 0 && block > lo:
			hi = block - 1
		case i == n && block < hi:
			lo = block + 1
		default:
			return false, s.checkAbsent(block, b, i)
		}
		if err := s.checkFirst(block, b); err != nil {
			return false, err
		}
	}
}

// read reads a block into buf and returns its records. It reads a whole page
// even where the last block has fewer records, which costs no more.
func (s *preadSource) read(buf *blockBuffer, block int64) ([]byte, error) {
	off := format.BlockOff(block)
	if err := s.file.read(buf, off); err != nil {
		return nil, err
	}
	return buf.block[:s.index.RecordsIn(block)*format.RecordLen], nil
}

// checkFirst returns an error if the first key of a block contradicts the fence.
// A page that was cut off reads as zeros and is found like this.
func (s *preadSource) checkFirst(block int64, b []byte) error {
	sp := span{block: block, lo: format.KeyAt(b), hi: s.index.MaxKey}
	switch first, m := sp.lo, s.fences.model; {
	case block == 0 && first != s.index.MinKey:
		return sp.corrupt(first)
	case m == nil && block == 1 && first != s.fences.first:
		return sp.corrupt(first)
	case m != nil && block > 0:
		if at, _ := m.Position(first); at != s.positions[block] || first.Less(s.fences.first) || s.fences.last.Less(first) {
			return sp.corrupt(first)
		}
	}
	return nil
}

// checkAbsent returns nil if a key that is missing in a block, where it would
// precede record i, is missing in the file, and an error if the records around
// it do not belong in the block.
func (s *preadSource) checkAbsent(block int64, b []byte, i int) error {
	if err := s.checkFirst(block, b); err != nil {
		return err
	}
	sp := span{block: block, lo: format.KeyAt(b), hi: s.index.MaxKey}
	return sp.checkAbsent(b, i)
}

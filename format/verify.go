package format

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Verify reads every block of the file that x was opened from, and checks the
// checksums, the order of the ids, the fields of every record, the fences and
// the padding. progress, if not nil, is called now and then with the bytes of
// blocks read so far; an error from it ends Verify.
func (x *Index) Verify(r io.ReaderAt, progress func(done int64) error) error {
	done := int64(0)
	return x.Scan(r, func(records []Record) error {
		if progress == nil {
			return nil
		}
		done += regionsOf(uint64(len(records))).numBlocks * BlockLen
		return progress(done)
	})
}

// Scan calls yield with all records of the file in the order of their ids,
// some at a time, each checked as by Verify before. The records are yield's
// until it returns; its error ends Scan.
func (x *Index) Scan(r io.ReaderAt, yield func(records []Record) error) error {
	var p Segment
	for i := range x.Segments() {
		records, err := p.Read(x, r, i)
		if err != nil {
			return err
		}
		if err := yield(records); err != nil {
			return err
		}
	}
	return nil
}

// segmentBlocks is how many blocks a Segment has, but for the last: 1 MiB.
const segmentBlocks = segmentLen / BlockLen

// Pieces is how many pieces the blocks are read in.
func (x *Index) Segments() int64 { return (x.numBlocks + segmentBlocks - 1) / segmentBlocks }

// A Segment is memory for a run of blocks with their fences and checksums. Its
// zero value is ready for use, by one goroutine at a time.
type Segment struct{ blocks, fences, sums []byte }

// Read reads the piece with number i of the file that x was opened from, and
// checks it as Verify does: all pieces are good if and only if the file is. The
// records are valid until the next Read.
func (p *Segment) Read(x *Index, r io.ReaderAt, i int64) ([]Record, error) {
	first := i * segmentBlocks
	return p.read(x, r, first, min(segmentBlocks, x.numBlocks-first))
}

// read is Read for num blocks.
func (p *Segment) read(x *Index, r io.ReaderAt, first, num int64) ([]Record, error) {
	// The fence behind the last block is its upper bound.
	numFences := min(num+1, x.numBlocks-first)
	p.blocks = resize(p.blocks, num*BlockLen)
	p.fences = resize(p.fences, numFences*KeyLen)
	p.sums = resize(p.sums, num*ChecksumLen)
	if err := readFull(r, p.blocks, BlockOff(first)); err != nil {
		return nil, err
	}
	if err := readFull(r, p.fences, x.FenceOff(first)); err != nil {
		return nil, err
	}
	if err := readFull(r, p.sums, x.checksumsOff+first*ChecksumLen); err != nil {
		return nil, err
	}
	n := 0
	for i := range num {
		if err := x.checkBlock(first+i, p.blocks[i*BlockLen:][:BlockLen], p.fences[i*KeyLen:], p.sums[i*ChecksumLen:]); err != nil {
			return nil, fmt.Errorf("block %d: %w", first+i, err)
		}
		n += x.RecordsIn(first + i)
	}
	return Records(p.blocks[:n*RecordLen]), nil
}

// resize is b, or memory in its place, with n bytes.
func resize(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// VerifyBlock reads one block, which must be one of the file's, and checks it
// as Verify does.
func (x *Index) VerifyBlock(r io.ReaderAt, block int64) error {
	var p Segment
	_, err := p.read(x, r, block, 1)
	return err
}

// checkBlock checks a block. fences begins with its fence and that of the next
// block, if there is one; sums begins with its checksum.
func (x *Index) checkBlock(block int64, b, fences, sums []byte) error {
	off := BlockOff(block)
	if got, want := Checksum(b), binary.BigEndian.Uint32(sums); got != want {
		return corrupt(ErrChecksum, off, "the block's is %08x, want %08x", got, want)
	}
	n := x.RecordsIn(block)
	records := Records(b[:n*RecordLen])
	if first, fence := records[0].Key(), KeyAt(fences); first != fence {
		return corrupt(ErrCorrupt, off, "the first id is %s, but the fence %s", first, fence)
	}
	if i := numGood(records, len(x.Styles)); i < n {
		k, off := records[i].Key(), off+int64(i*RecordLen)
		if i > 0 && !records[i-1].Key().Less(k) {
			return corrupt(ErrOrder, off, "%s behind %s", k, records[i-1].Key())
		}
		return corrupt(ErrCorrupt, off, "price or date of %s is out of its limits", k)
	}
	if i := firstNonZero(b[n*RecordLen:]); i >= 0 {
		return corrupt(ErrCorrupt, off+int64(n*RecordLen+i), "%#x where there must be zeros", b[n*RecordLen+i])
	}
	last := records[n-1].Key()
	if block < x.numBlocks-1 {
		if next := KeyAt(fences[KeyLen:]); !last.Less(next) {
			return corrupt(ErrOrder, off+BlockLen, "%s behind %s", next, last)
		}
	} else if last != x.MaxKey {
		return corrupt(ErrCorrupt, off+int64((n-1)*RecordLen), "the last id is %s, but the header's %s", last, x.MaxKey)
	}
	return nil
}

// numGood is how many of records, of which there is one at least, are good,
// from the first: valid, and behind the one before. Only where the first halves
// of two ids are alike it looks at the second ones.
func numGood(records []Record, numStyles int) int {
	if !records[0].Validate(numStyles) {
		return 0
	}
	last := records[0].Key().Hi
	for i := 1; i < len(records); i++ {
		r := &records[i]
		hi := binary.BigEndian.Uint64(r[keyOff:])
		if hi <= last && !records[i-1].Key().Less(r.Key()) || !r.Validate(numStyles) {
			return i
		}
		last = hi
	}
	return len(records)
}

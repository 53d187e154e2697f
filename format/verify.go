package format

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Verify reads every block of the file of x and checks the checksums, the order
// of the ids, the fields of every record, the fences and the padding. progress,
// which may be nil, receives the number of bytes of blocks read so far; an error
// of progress ends Verify.
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

// Scan calls yield with batches of all records of the file, in the order of
// their ids, verified like by Verify. yield must not keep the records after it
// returns; its error ends Scan.
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

// segmentBlocks is the number of blocks in each Segment except the last: 1 MiB.
const segmentBlocks = segmentLen / BlockLen

// Segments returns the number of segments that cover the blocks.
func (x *Index) Segments() int64 { return (x.numBlocks + segmentBlocks - 1) / segmentBlocks }

// A Segment is a buffer for consecutive blocks with their fences and checksums.
// The zero value is ready for use. It is not safe for concurrent use.
type Segment struct{ blocks, fences, sums []byte }

// Read reads segment i of the file of x and verifies it. The blocks of a file
// are good if and only if all its segments are. The records are valid until the
// next Read.
func (p *Segment) Read(x *Index, r io.ReaderAt, i int64) ([]Record, error) {
	first := i * segmentBlocks
	return p.ReadBlocks(x, r, first, min(segmentBlocks, x.numBlocks-first))
}

// ReadBlocks is like Read for num blocks from first.
func (p *Segment) ReadBlocks(x *Index, r io.ReaderAt, first, num int64) ([]Record, error) {
	// The fence after the last block of the segment bounds its ids.
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
		fence, next := KeyAt(p.fences[i*KeyLen:]), Key{}
		if i+1 < numFences {
			next = KeyAt(p.fences[(i+1)*KeyLen:])
		}
		sum := binary.BigEndian.Uint32(p.sums[i*ChecksumLen:])
		if err := x.CheckBlock(first+i, p.blocks[i*BlockLen:][:BlockLen], fence, next, sum); err != nil {
			return nil, err
		}
		n += x.RecordsIn(first + i)
	}
	return Records(p.blocks[:n*RecordLen]), nil
}

// resize returns b with n bytes, or a new slice if b is too small.
func resize(b []byte, n int64) []byte {
	if int64(cap(b)) < n {
		return make([]byte, n)
	}
	return b[:n]
}

// VerifyBlock reads one block of the file of x and verifies it.
func (x *Index) VerifyBlock(r io.ReaderAt, block int64) error {
	var p Segment
	_, err := p.ReadBlocks(x, r, block, 1)
	return err
}

// CheckBlock verifies b, a block that was read from the file of x. fence is its
// first id, next the first id of the following block, and sum its checksum. The last
// block has no next.
func (x *Index) CheckBlock(block int64, b []byte, fence, next Key, sum uint32) error {
	if err := x.checkBlock(block, b, fence, next, sum); err != nil {
		return fmt.Errorf("block %d: %w", block, err)
	}
	return nil
}

func (x *Index) checkBlock(block int64, b []byte, fence, next Key, sum uint32) error {
	off := BlockOff(block)
	if got := Checksum(b); got != sum {
		return corrupt(ErrChecksum, off, "block: %08x, want %08x", got, sum)
	}
	n := x.RecordsIn(block)
	records := Records(b[:n*RecordLen])
	if first := records[0].Key(); first != fence {
		return corrupt(ErrCorrupt, off, "first id %s, but fence %s", first, fence)
	}
	if i := numGood(records, x.numStyles); i < n {
		k, off := records[i].Key(), off+int64(i*RecordLen)
		if i > 0 && !records[i-1].Key().Less(k) {
			return corrupt(ErrOrder, off, "%s after %s", k, records[i-1].Key())
		}
		return corrupt(ErrCorrupt, off, "price or date of %s out of range", k)
	}
	if i := x.foreign(records); i >= 0 {
		k := records[i].Key()
		return corrupt(ErrCorrupt, off+int64(i*RecordLen), "id %s of shard %d in shard %d", k, x.ShardOf(k), x.Shard)
	}
	if i := firstNonZero(b[n*RecordLen:]); i >= 0 {
		return corrupt(ErrCorrupt, off+int64(n*RecordLen+i), "%#x in the padding, want zero", b[n*RecordLen+i])
	}
	last := records[n-1].Key()
	if block < x.numBlocks-1 {
		if !last.Less(next) {
			return corrupt(ErrOrder, off+BlockLen, "%s after %s", next, last)
		}
	} else if last != x.MaxKey {
		return corrupt(ErrCorrupt, off+int64((n-1)*RecordLen), "last id %s, but %s in the header", last, x.MaxKey)
	}
	return nil
}

// foreign returns the index of the first record of another shard, or -1. With
// ShardFirst there is none: the lowest and the highest id are of the shard, and so
// are all ids between them.
func (x *Index) foreign(records []Record) int {
	if x.Rule != ShardLast {
		return -1
	}
	for i := range records {
		if x.ShardOf(records[i].Key()) != x.Shard {
			return i
		}
	}
	return -1
}

// numGood returns the number of good records before the first bad one. A record
// is good if it is valid and sorts after its predecessor. records must not be
// empty. It compares the second half of two ids only if the first halves are
// equal.
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

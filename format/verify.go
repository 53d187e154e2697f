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
	v := verifier{Index: x}
	return readPieces(r, HeaderLen, x.fencesOff, func(off int64, b []byte) error {
		first := (off - HeaderLen) / BlockLen
		sums := make([]byte, len(b)/BlockLen*ChecksumLen)
		if err := readFull(r, sums, x.checksumsOff+first*ChecksumLen); err != nil {
			return err
		}
		n := 0
		for i := range int64(len(b) / BlockLen) {
			if err := v.block(first+i, b[i*BlockLen:][:BlockLen], binary.BigEndian.Uint32(sums[i*ChecksumLen:])); err != nil {
				return fmt.Errorf("block %d: %w", first+i, err)
			}
			n += x.RecordsIn(first + i)
		}
		return yield(Records(b[:n*RecordLen]))
	})
}

// VerifyBlock reads one block, which must be one of the file's, and checks it
// as Verify does.
func (x *Index) VerifyBlock(r io.ReaderAt, block int64) error {
	b := make([]byte, BlockLen)
	if err := readFull(r, b, BlockOff(block)); err != nil {
		return err
	}
	sum := make([]byte, ChecksumLen)
	if err := readFull(r, sum, x.checksumsOff+block*ChecksumLen); err != nil {
		return err
	}
	// Behind the first block no id is zero, so that the zero last is before all.
	v := verifier{Index: x}
	if err := v.block(block, b, binary.BigEndian.Uint32(sum)); err != nil {
		return fmt.Errorf("block %d: %w", block, err)
	}
	if next := block + 1; next < x.numBlocks && !v.last.Less(x.Fences[next]) {
		return fmt.Errorf("block %d: %w", block, corrupt(ErrOrder, BlockOff(next), "%s behind %s", x.Fences[next], v.last))
	}
	return nil
}

type verifier struct {
	*Index
	last Key // of the block before
}

func (v *verifier) block(block int64, b []byte, want uint32) error {
	off := BlockOff(block)
	if got := Checksum(b); got != want {
		return corrupt(ErrChecksum, off, "the block's is %08x, want %08x", got, want)
	}
	n := v.RecordsIn(block)
	records := Records(b[:n*RecordLen])
	if first := records[0].Key(); first != v.Fences[block] {
		return corrupt(ErrCorrupt, off, "the first id is %s, but the fence %s", first, v.Fences[block])
	}
	for i := range records {
		k := records[i].Key()
		if (block > 0 || i > 0) && !v.last.Less(k) {
			return corrupt(ErrOrder, off+int64(i*RecordLen), "%s behind %s", k, v.last)
		}
		if !records[i].Validate(len(v.Zones)) {
			return corrupt(ErrCorrupt, off+int64(i*RecordLen), "price or date of %s is out of its limits", k)
		}
		v.last = k
	}
	if i := firstNonZero(b[n*RecordLen:]); i >= 0 {
		return corrupt(ErrCorrupt, off+int64(n*RecordLen+i), "%#x where there must be zeros", b[n*RecordLen+i])
	}
	if block == v.numBlocks-1 && v.last != v.MaxKey {
		return corrupt(ErrCorrupt, off+int64((n-1)*RecordLen), "the last id is %s, but the header's %s", v.last, v.MaxKey)
	}
	return nil
}

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
	v := verifier{Index: x}
	return readPieces(r, HeaderLen, x.fencesOff, func(off int64, b []byte) error {
		block := (off - HeaderLen) / BlockLen
		sums := make([]byte, len(b)/BlockLen*ChecksumLen)
		if err := readFull(r, sums, x.checksumsOff+block*ChecksumLen); err != nil {
			return err
		}
		for ; len(b) > 0; b, sums, block = b[BlockLen:], sums[ChecksumLen:], block+1 {
			if err := v.block(block, b[:BlockLen], binary.BigEndian.Uint32(sums)); err != nil {
				return fmt.Errorf("block %d: %w", block, err)
			}
		}
		if progress != nil {
			return progress(BlockOff(block) - HeaderLen)
		}
		return nil
	})
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

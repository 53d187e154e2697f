package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// An Index holds the header, the dictionary and the offsets of the regions of a
// file. It holds neither fences nor blocks, so its memory does not depend on the
// number of records. It is immutable.
type Index struct {
	Header
	Styles []TimestampStyle // the dictionary, by index; a caller that does not print records may set it to nil

	numStyles int
	regions
	fencesSum, checksumsSum uint32
	fencesChecked           bool
}

// Open reads and checks a file of size bytes, except for its blocks: the header,
// the fences and their order, the checksums and the trailer. Verify checks the
// blocks. The error wraps one of this package or is an error of r.
func Open(r io.ReaderAt, size int64) (*Index, error) {
	x, err := OpenHead(r, size)
	if err != nil {
		return nil, err
	}
	if err := x.checkFences(r); err != nil {
		return nil, fmt.Errorf("fences: %w", err)
	}
	x.fencesChecked = true
	sum := uint32(0)
	if err := readSegments(r, x.checksumsOff, x.trailerOff, func(_ int64, b []byte) error {
		sum = crc32.Update(sum, castagnoli, b)
		return nil
	}); err != nil {
		return nil, fmt.Errorf("checksums: %w", err)
	}
	if sum != x.checksumsSum {
		return nil, fmt.Errorf("checksums: %w", corrupt(ErrChecksum, x.checksumsOff, "region: %08x, want %08x", sum, x.checksumsSum))
	}
	return x, nil
}

// OpenHead is like Open, but reads only the header and the trailer, 5 KiB of a file
// of any size. Get checks what else it reads.
func OpenHead(r io.ReaderAt, size int64) (*Index, error) {
	page := make([]byte, min(max(size, 0), HeaderLen))
	if err := readFull(r, page, 0); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	h, err := parseHeader(page)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	x := &Index{Header: h, regions: regionsOf(h.Records)}
	trailerLen := h.FileLen - x.trailerOff
	if trailerLen < minTrailerLen || trailerLen > minTrailerLen+maxStylesLen {
		return nil, fmt.Errorf("header: %w", corrupt(ErrCorrupt, fileLenOff, "%d records cannot fill a file of %d bytes", h.Records, h.FileLen))
	}
	if h.FileLen != size {
		return nil, fmt.Errorf("header: %w", corrupt(ErrTruncated, size, "end of file, want %d bytes", h.FileLen))
	}
	trailer := make([]byte, trailerLen)
	if err := readFull(r, trailer, x.trailerOff); err != nil {
		return nil, fmt.Errorf("trailer: %w", err)
	}
	if err := x.parseTrailer(trailer); err != nil {
		return nil, fmt.Errorf("trailer: %w", err)
	}
	return x, nil
}

// RecordsIn returns the number of records in a block.
func (x *Index) RecordsIn(block int64) int {
	return int(min(RecordsPerBlock, x.Records-uint64(block)*RecordsPerBlock))
}

// Regions returns the names, offsets and lengths of the regions of the file.
func (x *Index) Regions() []Region {
	return []Region{
		{"header", 0, HeaderLen},
		{"blocks", HeaderLen, x.fencesOff - HeaderLen},
		{"fences", x.fencesOff, x.checksumsOff - x.fencesOff},
		{"checksums", x.checksumsOff, x.trailerOff - x.checksumsOff},
		{"trailer", x.trailerOff, x.FileLen - x.trailerOff},
	}
}

// A Region is a part of a file. Offset and Len are in bytes.
type Region struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Len    int64  `json:"bytes"`
}

// FenceOff returns the offset in the file of the fence of a block.
func (x *Index) FenceOff(block int64) int64 { return x.fencesOff + block*KeyLen }

// Fences calls yield with the fence of each block, its first id. Open has checked
// that the fences ascend.
func (x *Index) Fences(r io.ReaderAt, yield func(block int64, fence Key)) error {
	return readSegments(r, x.fencesOff, x.checksumsOff, func(off int64, b []byte) error {
		for block := (off - x.fencesOff) / KeyLen; len(b) > 0; block, b = block+1, b[KeyLen:] {
			yield(block, KeyAt(b))
		}
		return nil
	})
}

// Checksums calls yield with the checksum of each block.
func (x *Index) Checksums(r io.ReaderAt, yield func(block int64, sum uint32)) error {
	return readSegments(r, x.checksumsOff, x.trailerOff, func(off int64, b []byte) error {
		for block := (off - x.checksumsOff) / ChecksumLen; len(b) > 0; block, b = block+1, b[ChecksumLen:] {
			yield(block, binary.BigEndian.Uint32(b))
		}
		return nil
	})
}

func (x *Index) checkFences(r io.ReaderAt) error {
	sum := uint32(0)
	last, disorder := Key{}, error(nil)
	err := readSegments(r, x.fencesOff, x.checksumsOff, func(off int64, b []byte) error {
		sum = crc32.Update(sum, castagnoli, b)
		if off == x.fencesOff {
			if last = KeyAt(b); last != x.MinKey {
				disorder = corrupt(ErrCorrupt, off, "first fence %s, but first id %s in the header", last, x.MinKey)
			}
			off, b = off+KeyLen, b[KeyLen:]
		}
		for ; len(b) > 0 && disorder == nil; off, b = off+KeyLen, b[KeyLen:] {
			k := KeyAt(b)
			if !last.Less(k) {
				disorder = corrupt(ErrOrder, off, "%s after %s", k, last)
			}
			last = k
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case sum != x.fencesSum: // first, because it explains the others
		return corrupt(ErrChecksum, x.fencesOff, "region: %08x, want %08x", sum, x.fencesSum)
	case disorder == nil && x.MaxKey.Less(last):
		return corrupt(ErrCorrupt, x.checksumsOff-KeyLen, "last fence %s, but last id %s in the header", last, x.MaxKey)
	}
	return disorder
}

// segmentLen is the number of bytes of one read. It is a multiple of every width
// in the file.
const segmentLen = 1 << 20

// readSegments calls f with the bytes from lo to hi, one segment at a time.
func readSegments(r io.ReaderAt, lo, hi int64, f func(off int64, b []byte) error) error {
	buf := make([]byte, min(segmentLen, hi-lo))
	for off := lo; off < hi; off += int64(len(buf)) {
		b := buf[:min(int64(len(buf)), hi-off)]
		if err := readFull(r, b, off); err != nil {
			return err
		}
		if err := f(off, b); err != nil {
			return err
		}
	}
	return nil
}

// readFull fills b from offset off. An early end of the file is ErrTruncated:
// Open checked the length, so the file was cut afterwards.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return corrupt(ErrTruncated, off+int64(n), "end of file, want %d more bytes", len(b)-n)
	}
	return err
}

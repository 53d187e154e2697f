package format

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
	"unsafe"
)

// A File is the target of a Writer, such as an *os.File open for reading and
// writing.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// A Writer writes one generation file from records in ascending order. Reserve
// assigns a batch its range of the file and is cheap; Batch.Write does the work
// and may run concurrently with other writes.
//
// Memory is bounded. The fences and checksums are written at once, at their
// offsets in a file of maxRecords records. Finish moves them down if there are
// fewer records.
type Writer struct {
	file       File
	maxRecords uint64
	reserved   regions // of a file of maxRecords

	mu      sync.Mutex // guards the fields below
	records uint64
	minKey  Key
	maxKey  Key
	tail    []Record // after the last full block, fewer than a block
}

// NewWriter returns a Writer to file, which must be empty. Reserve accepts up to
// maxRecords records, and no more than MaxRecords.
func NewWriter(file File, maxRecords uint64) *Writer {
	maxRecords = min(maxRecords, MaxRecords)
	return &Writer{
		file:       file,
		maxRecords: maxRecords,
		reserved:   regionsOf(maxRecords),
		tail:       make([]Record, 0, RecordsPerBlock),
	}
}

// A Batch is a run of consecutive records with its range of the file.
type Batch struct {
	w       *Writer
	block   int64    // the first block that the batch fills
	head    []Record // the start of this block, from earlier batches
	records []Record
}

// Reserve assigns records the next range of the file. The calls must come in the
// order of the ids. The Batch refers to the memory of records until Write
// returns.
func (w *Writer) Reserve(records []Record) (Batch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := Batch{w: w, block: int64(w.records / RecordsPerBlock), head: slices.Clone(w.tail), records: records}
	if len(records) == 0 {
		return b, nil
	}
	first, last := records[0].Key(), records[len(records)-1].Key()
	if w.records > 0 && !w.maxKey.Less(first) {
		return Batch{}, fmt.Errorf("%w: %s after %s", ErrOrder, first, w.maxKey)
	}
	if uint64(len(records)) > w.maxRecords-w.records {
		return Batch{}, fmt.Errorf("BUG: %d records in a file for %d", w.records+uint64(len(records)), w.maxRecords)
	}
	if w.records == 0 {
		w.minKey = first
	}
	w.maxKey = last
	w.records += uint64(len(records))
	if n := len(w.tail) + len(records); n < RecordsPerBlock {
		w.tail = append(w.tail, records...)
	} else {
		w.tail = append(w.tail[:0], records[len(records)-n%RecordsPerBlock:]...)
	}
	return b, nil
}

// Write writes the blocks that the batch fills. Batches may be written in any
// order and concurrently.
func (b Batch) Write() error {
	for i := 1; i < len(b.records); i++ {
		if !b.records[i-1].Key().Less(b.records[i].Key()) {
			return fmt.Errorf("%w: %s after %s", ErrOrder, b.records[i].Key(), b.records[i-1].Key())
		}
	}
	if len(b.head)+len(b.records) < RecordsPerBlock {
		return nil
	}
	if len(b.head) > 0 {
		k := RecordsPerBlock - len(b.head)
		if err := b.w.writeBlocks(b.block, Bytes(append(b.head, b.records[:k]...))); err != nil {
			return err
		}
		b.block++
		b.records = b.records[k:]
	}
	whole := len(b.records) / RecordsPerBlock * RecordsPerBlock
	return b.w.writeBlocks(b.block, Bytes(b.records[:whole]))
}

// Range returns the offset and the length in bytes of the blocks that Write
// writes.
func (b Batch) Range() (off, n int64) {
	return BlockOff(b.block), int64((len(b.head) + len(b.records)) / RecordsPerBlock * BlockLen)
}

// writeBlocks writes whole blocks with their fences and checksums.
func (w *Writer) writeBlocks(block int64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if _, err := w.file.WriteAt(data, BlockOff(block)); err != nil {
		return err
	}
	n := len(data) / BlockLen
	fences := make([]byte, 0, n*KeyLen)
	sums := make([]byte, 0, n*ChecksumLen)
	for ; len(data) > 0; data = data[BlockLen:] {
		fences = append(fences, data[:KeyLen]...)
		sums = binary.BigEndian.AppendUint32(sums, Checksum(data[:BlockLen]))
	}
	if _, err := w.file.WriteAt(fences, w.reserved.fencesOff+block*KeyLen); err != nil {
		return err
	}
	_, err := w.file.WriteAt(sums, w.reserved.checksumsOff+block*ChecksumLen)
	return err
}

// Finish completes the file after every batch is written, and returns its
// header. Of h it uses Sharding, Shard, Generation, Duplicates and BadRows. styles
// must be in ascending order of their AppendBinary. The caller truncates the
// file to FileLen and syncs it.
func (w *Writer) Finish(h Header, styles []TimestampStyle) (Header, error) {
	if err := checkStyles(styles); err != nil {
		return Header{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.tail) > 0 {
		var block [BlockLen]byte
		copy(block[:], Bytes(w.tail))
		if err := w.writeBlocks(int64(w.records/RecordsPerBlock), block[:]); err != nil {
			return Header{}, err
		}
	}
	g := regionsOf(w.records)
	fencesSum, err := w.move(w.reserved.fencesOff, g.fencesOff, g.numBlocks*KeyLen)
	if err != nil {
		return Header{}, err
	}
	checksumsSum, err := w.move(w.reserved.checksumsOff, g.checksumsOff, g.numBlocks*ChecksumLen)
	if err != nil {
		return Header{}, err
	}
	trailer := appendTrailer(nil, fencesSum, checksumsSum, styles)
	if _, err := w.file.WriteAt(trailer, g.trailerOff); err != nil {
		return Header{}, err
	}
	h.Records, h.MinKey, h.MaxKey = w.records, w.minKey, w.maxKey
	h.Version = versionOf(styles)
	h.Rows = h.Records + h.Duplicates + h.BadRows
	h.FileLen = g.trailerOff + int64(len(trailer))
	_, err = w.file.WriteAt(h.append(nil), 0)
	return h, err
}

// move copies n bytes down from offset src to offset dst and returns their
// checksum.
func (w *Writer) move(src, dst, n int64) (sum uint32, err error) {
	buf := make([]byte, min(n, 256<<10))
	for n > 0 {
		b := buf[:min(n, int64(len(buf)))]
		if err := readFull(w.file, b, src); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, castagnoli, b)
		if src != dst {
			if _, err := w.file.WriteAt(b, dst); err != nil {
				return 0, err
			}
		}
		src, dst, n = src+int64(len(b)), dst+int64(len(b)), n-int64(len(b))
	}
	return sum, nil
}

// Bytes returns the memory of records, which is their encoding in the file.
func Bytes(records []Record) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(records))), len(records)*RecordLen)
}

// Records returns the memory of b as records. The length of b must be a multiple
// of RecordLen.
func Records(b []byte) []Record {
	return unsafe.Slice((*Record)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/RecordLen)
}

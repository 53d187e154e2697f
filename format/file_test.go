package format_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

// kinds holds the kinds of damage. Every error of Open and Verify wraps exactly
// one of them unless the reader fails.
var kinds = []error{
	format.ErrFormat, format.ErrVersion, format.ErrTruncated,
	format.ErrChecksum, format.ErrCorrupt, format.ErrOrder,
}

// kindOf returns the only one of kinds that err wraps, or nil.
func kindOf(err error) error {
	var kind error
	for _, k := range kinds {
		if errors.Is(err, k) {
			if kind != nil {
				return nil
			}
			kind = k
		}
	}
	return kind
}

// A memFile is a format.File in memory. A read up to the end of the file returns
// io.EOF, which io.ReaderAt permits.
type memFile struct {
	mu sync.RWMutex
	b  []byte
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	n := copy(p, f.b[min(off, int64(len(f.b))):])
	if off+int64(n) == int64(len(f.b)) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(f.b)) {
		f.b = append(f.b, make([]byte, end-int64(len(f.b)))...)
	}
	return copy(f.b[off:], p), nil
}

// A dataSet holds the content of a file.
type dataSet struct {
	header  format.Header // Shard, Shards, Generation, Duplicates and BadRows
	styles  []format.TimestampStyle
	records []format.Record
}

// write returns the file of t, written in one batch.
func (t dataSet) write(tb rapid.TB) []byte {
	tb.Helper()
	var f memFile
	w := format.NewWriter(&f, uint64(len(t.records)))
	writeBatch(tb, w, t.records)
	return finish(tb, w, &f, t)
}

// writeBatch reserves and writes one batch.
func writeBatch(tb rapid.TB, w *format.Writer, records []format.Record) {
	tb.Helper()
	batch, err := w.Reserve(records)
	if err != nil {
		tb.Fatal(err)
	}
	if err := batch.Write(); err != nil {
		tb.Fatal(err)
	}
}

// finish completes the file and checks the returned header.
func finish(tb rapid.TB, w *format.Writer, f *memFile, t dataSet) []byte {
	tb.Helper()
	got, err := w.Finish(t.header, t.styles)
	if err != nil {
		tb.Fatal(err)
	}
	want := t.header
	want.Records = uint64(len(t.records))
	want.Rows = want.Records + want.Duplicates + want.BadRows
	if len(t.records) > 0 {
		want.MinKey, want.MaxKey = t.records[0].Key(), t.records[len(t.records)-1].Key()
	}
	want.FileLen = got.FileLen
	want.Version = 1
	for _, z := range t.styles {
		if z.Zeros > 0 || z.Layout == format.LayoutSuffix || z.Layout == format.LayoutSuffixT {
			want.Version = 2
		}
	}
	if got != want {
		tb.Fatalf("Finish: header %+v, want %+v", got, want)
	}
	return f.b[:got.FileLen]
}

// open opens b, verifies it as a whole and block by block, and returns its
// content.
func open(b []byte) (dataSet, error) {
	r := bytes.NewReader(b)
	x, err := format.Open(r, int64(len(b)))
	if err != nil {
		return dataSet{}, err
	}
	err = x.Verify(r, nil)
	var blocksErr error
	for block := range x.Blocks() {
		blocksErr = errors.Join(blocksErr, x.VerifyBlock(r, block))
	}
	if (err == nil) != (blocksErr == nil) {
		return dataSet{}, fmt.Errorf("Verify: %s, but VerifyBlock: %s", fmt.Sprint(err), fmt.Sprint(blocksErr)) // wraps none of kinds
	}
	if err != nil {
		return dataSet{}, err
	}
	t := dataSet{header: x.Header, styles: x.Styles}
	for block := range x.Blocks() {
		off := format.BlockOff(block)
		n := x.RecordsIn(block)
		t.records = append(t.records, format.Records(b[off:off+int64(n)*format.RecordLen])...)
	}
	return t, nil
}

// csv returns t as CSV.
func (t dataSet) csv() string {
	var b []byte
	for i := range t.records {
		b = append(t.records[i].AppendCSV(b, t.styles, ','), '\n')
	}
	return string(b)
}

// parseRows returns the data set of CSV rows in any order.
func parseRows(tb rapid.TB, header format.Header, rows []string) dataSet {
	tb.Helper()
	t := dataSet{header: header}
	byText := map[string]format.TimestampStyle{}
	type rowStyle struct {
		record format.Record
		style  string
	}
	var parsed []rowStyle
	for _, row := range rows {
		f := strings.Split(row, ",")
		key, upper, err0 := format.ParseKey([]byte(f[0]))
		price, err1 := format.ParsePrice([]byte(f[1]))
		seconds, sep, rest, err2 := format.ParseDate([]byte(f[2]))
		style, err3 := format.ParseTimestampStyle(sep, rest)
		style.Zeros = uint8(price.Zeros)
		if err := errors.Join(err0, err1, err2, err3); err != nil {
			tb.Fatalf("row %q: %v", row, err)
		}
		text := string(style.AppendBinary(nil))
		byText[text] = style
		parsed = append(parsed, rowStyle{format.MakeRecord(key, upper, price, seconds, 0), text})
	}
	order := slices.Sorted(maps.Keys(byText))
	for _, text := range order {
		t.styles = append(t.styles, byText[text])
	}
	for _, p := range parsed {
		i, _ := slices.BinarySearch(order, p.style)
		p.record.SetStyle(uint16(i))
		t.records = append(t.records, p.record)
	}
	slices.SortFunc(t.records, compareRecords)
	return t
}

func compareRecords(a, b format.Record) int { return a.Key().Compare(b.Key()) }

// genDataSet draws a data set of up to maxRecords records.
func genDataSet(maxRecords int) *rapid.Generator[dataSet] {
	return rapid.Custom(func(t *rapid.T) dataSet {
		styles := rapid.SliceOfNDistinct(genStyle(), 1, 5, func(z format.TimestampStyle) format.TimestampStyle { return z }).Draw(t, "styles")
		for i := range styles {
			styles[i].Zeros = uint8(rapid.IntRange(0, 2).Draw(t, "zeros")) * format.MaxZeros / 2
		}
		slices.SortFunc(styles, func(a, b format.TimestampStyle) int {
			return bytes.Compare(a.AppendBinary(nil), b.AppendBinary(nil))
		})
		n := rapid.IntRange(0, maxRecords).Draw(t, "records")
		sharding := rapid.SampledFrom([]format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 4096}, {Rule: format.ShardFirst, Shards: 32}}).Draw(t, "sharding")
		shard := rapid.Uint32Max(sharding.Shards-1).Draw(t, "shard")
		// Drawing every field of every record is slow: derive them from a seed.
		seed := rapid.Uint64().Draw(t, "seed")
		records := make([]format.Record, n)
		for i := range records {
			seed = seed*6364136223846793005 + 1442695040888963407
			key := format.Key{Hi: uint64(i / 3), Lo: uint64(i%3)<<40 | seed>>40}
			switch sharding.Rule {
			case format.ShardLast:
				key.Lo = key.Lo&^uint64(sharding.Shards-1) | uint64(shard)
				key.Hi = uint64(i)
			case format.ShardFirst:
				key.Hi |= uint64(shard) << (64 - sharding.Bits())
			}
			price := format.Price{Digits: seed >> 32, Scale: int(seed>>60) + 1, Negative: seed>>59&1 == 1}
			records[i] = format.MakeRecord(key, seed>>58&1 == 1, price, seed>>30, uint16(seed>>20)%uint16(len(styles)))
		}
		return dataSet{
			header: format.Header{
				Sharding: sharding, Shard: shard,
				Generation: rapid.Int64Range(0, format.MaxGeneration).Draw(t, "generation"),
				Duplicates: rapid.Uint64Max(1e9).Draw(t, "duplicates"),
				BadRows:    rapid.Uint64Max(1e9).Draw(t, "bad rows"),
			},
			styles:  styles,
			records: records,
		}
	})
}

func TestFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genDataSet(700).Draw(t, "data set")
		b := want.write(t)
		got, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.records, want.records) {
			t.Fatal("records differ")
		}
		if !slices.Equal(got.styles, want.styles) {
			t.Fatalf("styles %+v, want %+v", got.styles, want.styles)
		}
		if again := got.write(t); !bytes.Equal(again, b) {
			t.Fatal("the rewritten file differs")
		}
	})
}

func TestIndex(t *testing.T) {
	full := genDataSet(1000).Filter(func(t dataSet) bool { return len(t.records) > 2*format.RecordsPerBlock }).Example(1)
	b := full.write(t)
	x, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	off, total := int64(0), 0
	for _, r := range x.Regions() {
		if r.Offset != off {
			t.Errorf("region %s at offset %d, want %d", r.Name, r.Offset, off)
		}
		off += r.Len
	}
	if off != x.FileLen {
		t.Errorf("end of the regions at %d, want %d", off, x.FileLen)
	}
	if err := x.Fences(bytes.NewReader(b), func(block int64, fence format.Key) {
		if got := full.records[block*format.RecordsPerBlock].Key(); got != fence || format.KeyAt(b[x.FenceOff(block):]) != fence {
			t.Errorf("fence %d is %s, want %s", block, fence, got)
		}
		total += x.RecordsIn(block)
	}); err != nil {
		t.Fatal(err)
	}
	if total != len(full.records) {
		t.Errorf("%d records in all blocks, want %d", total, len(full.records))
	}
	next := int64(0)
	if err := x.Checksums(bytes.NewReader(b), func(block int64, sum uint32) {
		if got := format.Checksum(b[format.BlockOff(block):][:format.BlockLen]); block != next || got != sum {
			t.Errorf("checksum %d is %08x, want %08x of block %d", block, sum, got, next)
		}
		next++
	}); err != nil || next != x.Blocks() {
		t.Errorf("%d checksums, error %v; want %d", next, err, x.Blocks())
	}
}

// Blocks can be verified after the dictionary has been dropped.
func TestVerifyWithoutStyles(t *testing.T) {
	b := genDataSet(300).Filter(func(t dataSet) bool { return len(t.records) > 200 }).Example(1).write(t)
	r := bytes.NewReader(b)
	x, err := format.Open(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	x.Styles = nil
	if err := x.Verify(r, nil); err != nil {
		t.Error(err)
	}
}

func TestVerifyProgress(t *testing.T) {
	// More than one segment of 1 MiB.
	full := parseRows(t, format.Header{Sharding: format.Unsharded}, []string{"00000000-0000-0000-0000-000000000000,1,2022-06-04 06:01:20"})
	for i := range 3 << 15 {
		r := full.records[0]
		full.records = append(full.records, format.MakeRecord(format.Key{Lo: uint64(i) + 1}, false, r.Price(), r.Seconds(), 0))
	}
	b := full.write(t)
	r := bytes.NewReader(b)
	x, err := format.Open(r, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var seen []int64
	if err := x.Verify(r, func(done int64) error { seen = append(seen, done); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(seen, cmp.Compare) || len(seen) < 2 || seen[len(seen)-1] != x.Blocks()*format.BlockLen {
		t.Errorf("progress %v, want it to ascend to %d", seen, x.Blocks()*format.BlockLen)
	}
	stop := errors.New("stop")
	if err := x.Verify(r, func(int64) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Verify: %v, want the error of progress", err)
	}
}

// A failingReader fails after n reads.
type failingReader struct {
	io.ReaderAt
	n   int
	err error
}

func (r *failingReader) ReadAt(p []byte, off int64) (int, error) {
	if r.n--; r.n < 0 {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestReadErrors(t *testing.T) {
	b := genDataSet(300).Filter(func(t dataSet) bool { return len(t.records) > 200 }).Example(1).write(t)
	errDisk := errors.New("disk error")
	for n := range 100 {
		r := &failingReader{bytes.NewReader(b), n, errDisk}
		x, err := format.Open(r, int64(len(b)))
		if err == nil {
			err = x.Verify(r, nil)
		}
		if err == nil {
			if n < 6 { // header, trailer, fences, checksums, blocks with fences and checksums
				t.Errorf("%d reads, want at least 6", n)
			}
			return
		}
		if !errors.Is(err, errDisk) || kindOf(err) != nil {
			t.Errorf("failure of read %d: %v, want %v", n, err, errDisk)
		}
	}
	t.Error("more than 100 reads")
}

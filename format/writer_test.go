package format_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

// TestBatches writes the same records in random batches, in random order or
// concurrently, into a file that may have space for more records.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full := genDataSet(1500).Draw(t, "data set")
		want := full.write(t)

		var f memFile
		reserve := uint64(len(full.records)) + rapid.SampledFrom([]uint64{0, 1, 127, 128, 129, 5000}).Draw(t, "reserve")
		w := format.NewWriter(&f, reserve)
		size := rapid.SampledFrom([]*rapid.Generator[int]{
			rapid.IntRange(0, 5), rapid.IntRange(100, 140), rapid.IntRange(0, 600), rapid.Just(128), rapid.Just(256),
		}).Draw(t, "sizes")
		var batches []format.Batch
		for rest := full.records; len(rest) > 0; {
			n := min(size.Draw(t, "size"), len(rest))
			batch, err := w.Reserve(rest[:n:n])
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, batch)
			rest = rest[n:]
		}
		batches = rapid.Permutation(batches).Draw(t, "order")
		if rapid.Bool().Draw(t, "concurrent") {
			errs := make([]error, len(batches))
			var wg sync.WaitGroup
			for i, batch := range batches {
				wg.Go(func() { errs[i] = batch.Write() })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
		} else {
			for _, batch := range batches {
				if err := batch.Write(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := finish(t, w, &f, full); !bytes.Equal(got, want) {
			t.Fatalf("the file differs from one of a single batch at offset %d", firstDifference(got, want))
		}
	})
}

// keyed returns records with these keys and zeros in the other fields.
func keyed(keys ...uint64) []format.Record {
	records := make([]format.Record, len(keys))
	for i, k := range keys {
		records[i] = format.MakeRecord(format.Key{Lo: k}, false, format.Price{}, 0, 0)
	}
	return records
}

func ascending(n int) []format.Record {
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = uint64(i)
	}
	return keyed(keys...)
}

func TestWriterRejectsDisorder(t *testing.T) {
	for name, records := range map[string][]format.Record{
		"duplicate":               keyed(1, 2, 2, 3),
		"descending":              keyed(1, 3, 2, 4),
		"descending at the start": keyed(2, 1, 3),
		"descending at the end":   keyed(1, 3, 2),
		"in the second block":     append(ascending(200), keyed(198, 1000)...),
	} {
		batch, err := format.NewWriter(new(memFile), 1000).Reserve(records)
		if err == nil {
			err = batch.Write()
		}
		if !errors.Is(err, format.ErrOrder) {
			t.Errorf("%s: %v, want %v", name, err, format.ErrOrder)
		}
	}
	for name, records := range map[string][]format.Record{
		"equal to the last": keyed(299),
		"before the last":   keyed(298, 300),
	} {
		w := format.NewWriter(new(memFile), 1000)
		writeBatch(t, w, ascending(300))
		if _, err := w.Reserve(records); !errors.Is(err, format.ErrOrder) {
			t.Errorf("%s: %v, want %v", name, err, format.ErrOrder)
		}
	}
}

// TestReserveAfterError continues after a rejected batch.
func TestReserveAfterError(t *testing.T) {
	var f memFile
	w := format.NewWriter(&f, 300)
	writeBatch(t, w, ascending(300)[:299])
	for _, records := range [][]format.Record{keyed(7), keyed(299, 300), ascending(301)} {
		if _, err := w.Reserve(records); err == nil {
			t.Errorf("Reserve accepts %d records from %s", len(records), records[0].Key())
		}
	}
	writeBatch(t, w, keyed(299))
	if _, err := w.Reserve(keyed(300)); err == nil {
		t.Error("Reserve accepts more than maxRecords")
	}
	full := dataSet{header: format.Header{Sharding: format.Unsharded}, styles: []format.TimestampStyle{{}}, records: ascending(300)}
	if got := finish(t, w, &f, full); !bytes.Equal(got, full.write(t)) {
		t.Error("the file differs")
	}
}

func TestMaxRecords(t *testing.T) {
	w := format.NewWriter(new(memFile), 1<<64-1)
	if _, err := w.Reserve(ascending(1)); err != nil {
		t.Error(err)
	}
	if _, err := format.NewWriter(new(memFile), 0).Reserve(ascending(1)); err == nil {
		t.Error("Reserve accepts a record in a file for none")
	}
}

func TestFinishChecksStyles(t *testing.T) {
	a, b := format.TimestampStyle{Layout: format.LayoutWall}, format.TimestampStyle{Layout: format.LayoutUTC}
	for name, styles := range map[string][]format.TimestampStyle{"descending": {b, a}, "duplicate": {a, a}} {
		if _, err := format.NewWriter(new(memFile), 0).Finish(format.Header{Sharding: format.Unsharded}, styles); !errors.Is(err, format.ErrOrder) {
			t.Errorf("%s styles: %v, want %v", name, err, format.ErrOrder)
		}
	}
	for name, styles := range map[string][]format.TimestampStyle{
		"malformed": {{Layout: format.LayoutWall, Minutes: 1}},
		"too many":  make([]format.TimestampStyle, format.MaxStyles+1),
	} {
		if _, err := format.NewWriter(new(memFile), 0).Finish(format.Header{Sharding: format.Unsharded}, styles); err == nil {
			t.Errorf("%s styles are accepted", name)
		}
	}
}

// A failingFile fails after n reads and writes.
type failingFile struct {
	memFile
	n   int
	err error
}

func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, f.err
	}
	return f.memFile.WriteAt(p, off)
}

func (f *failingFile) ReadAt(p []byte, off int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, f.err
	}
	return f.memFile.ReadAt(p, off)
}

func TestWriterErrors(t *testing.T) {
	errDisk := errors.New("disk full")
	write := func(f format.File) error {
		w := format.NewWriter(f, 1000)
		for _, records := range [][]format.Record{ascending(600)[:200], ascending(600)[200:600]} {
			batch, err := w.Reserve(records)
			if err != nil {
				return err
			}
			if err := batch.Write(); err != nil {
				return err
			}
		}
		_, err := w.Finish(format.Header{Sharding: format.Unsharded}, []format.TimestampStyle{{}})
		return err
	}
	for n := range 100 {
		err := write(&failingFile{n: n, err: errDisk})
		if err == nil {
			// Three writes for each run of blocks: the first batch, the block
			// that two batches share, the rest of the second, and the tail. A
			// read and a write move the fences and the checksums. Trailer, header.
			if n != 4*3+2*2+2 {
				t.Errorf("%d calls, want %d", n, 4*3+2*2+2)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("failure of call %d: %v, want %v", n, err, errDisk)
		}
	}
	t.Error("more than 100 calls")
}

// TestUnwrittenBatch finishes a file without writing its batch.
func TestUnwrittenBatch(t *testing.T) {
	var f memFile
	w := format.NewWriter(&f, 300)
	if _, err := w.Reserve(ascending(300)); err != nil {
		t.Fatal(err)
	}
	h, err := w.Finish(format.Header{Sharding: format.Unsharded}, []format.TimestampStyle{{}})
	if err == nil {
		_, err = open(f.b[:h.FileLen])
	}
	if kindOf(err) == nil {
		t.Errorf("error %v, want a kind of damage", err)
	}
}

func TestBytes(t *testing.T) {
	records := keyed(1, 2, 3)
	b := format.Bytes(records)
	if len(b) != 3*format.RecordLen || !bytes.Equal(b[format.RecordLen:2*format.RecordLen], records[1][:]) {
		t.Errorf("Bytes: %x", b)
	}
	if got := format.Records(b); len(got) != 3 || &got[2] != &records[2] {
		t.Error("Records does not return the memory of Bytes")
	}
	if len(format.Bytes(nil)) != 0 || len(format.Records(nil)) != 0 {
		t.Error("Bytes and Records of nil are not empty")
	}
}

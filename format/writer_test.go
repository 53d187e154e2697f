package format_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

// TestBatches writes the same records in random batches, in random order and
// at the same time, into a file that may be reserved for more.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		full := genTable(1500).Draw(t, "table")
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
		if rapid.Bool().Draw(t, "at once") {
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
			t.Fatalf("the bytes differ from those of one batch at offset %d", firstDifference(got, want))
		}
	})
}

// keyed is records with these keys, whose other fields are zero.
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

func TestOrder(t *testing.T) {
	for name, records := range map[string][]format.Record{
		"twice":                keyed(1, 2, 2, 3),
		"falling":              keyed(1, 3, 2, 4),
		"falling at the start": keyed(2, 1, 3),
		"falling at the end":   keyed(1, 3, 2),
		"in the second block":  append(ascending(200), keyed(198, 1000)...),
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
		"the same again": keyed(299),
		"before":         keyed(298, 300),
	} {
		w := format.NewWriter(new(memFile), 1000)
		place(t, w, ascending(300))
		if _, err := w.Reserve(records); !errors.Is(err, format.ErrOrder) {
			t.Errorf("%s: %v, want %v", name, err, format.ErrOrder)
		}
	}
}

// TestPlaceRefused goes on after a batch that was refused.
func TestPlaceRefused(t *testing.T) {
	var f memFile
	w := format.NewWriter(&f, 300)
	place(t, w, ascending(300)[:299])
	for _, records := range [][]format.Record{keyed(7), keyed(299, 300), ascending(301)} {
		if _, err := w.Reserve(records); err == nil {
			t.Errorf("a batch of %d records from %s is placed", len(records), records[0].Key())
		}
	}
	place(t, w, keyed(299))
	if _, err := w.Reserve(keyed(300)); err == nil {
		t.Error("a record over maxRecords is placed")
	}
	full := table{header: format.Header{Shards: 1}, styles: []format.TimestampStyle{{}}, records: ascending(300)}
	if got := finish(t, w, &f, full); !bytes.Equal(got, full.write(t)) {
		t.Error("the bytes differ")
	}
}

func TestMaxRecords(t *testing.T) {
	w := format.NewWriter(new(memFile), 1<<64-1)
	if _, err := w.Reserve(ascending(1)); err != nil {
		t.Error(err)
	}
	if _, err := format.NewWriter(new(memFile), 0).Reserve(ascending(1)); err == nil {
		t.Error("a record is placed in a file for none")
	}
}

func TestFinishZones(t *testing.T) {
	a, b := format.TimestampStyle{Layout: format.LayoutWall}, format.TimestampStyle{Layout: format.LayoutUTC}
	for name, styles := range map[string][]format.TimestampStyle{"falling": {b, a}, "twice": {a, a}} {
		if _, err := format.NewWriter(new(memFile), 0).Finish(format.Header{Shards: 1}, styles); !errors.Is(err, format.ErrOrder) {
			t.Errorf("zones %s: %v, want %v", name, err, format.ErrOrder)
		}
	}
	for name, styles := range map[string][]format.TimestampStyle{
		"malformed": {{Layout: format.LayoutWall, Minutes: 1}},
		"too many":  make([]format.TimestampStyle, format.MaxStyles+1),
	} {
		if _, err := format.NewWriter(new(memFile), 0).Finish(format.Header{Shards: 1}, styles); err == nil {
			t.Errorf("zones %s are written", name)
		}
	}
}

// A failingFile fails at the n-th read or write.
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
	errDisk := errors.New("the disk is full")
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
		_, err := w.Finish(format.Header{Shards: 1}, []format.TimestampStyle{{}})
		return err
	}
	for n := range 100 {
		err := write(&failingFile{n: n, err: errDisk})
		if err == nil {
			// Three for each run of blocks: of the first batch, the block that two
			// share, the rest of the second, the tail; two to move each of fences
			// and checksums; trailer; header. Read and write.
			if n != 4*3+2*2+2 {
				t.Errorf("%d calls", n)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("call %d fails: %v, want %v", n, err, errDisk)
		}
	}
	t.Error("100 calls are not enough")
}

// TestBatchMissing finishes a file of which one batch was not written.
func TestBatchMissing(t *testing.T) {
	var f memFile
	w := format.NewWriter(&f, 300)
	if _, err := w.Reserve(ascending(300)); err != nil {
		t.Fatal(err)
	}
	h, err := w.Finish(format.Header{Shards: 1}, []format.TimestampStyle{{}})
	if err == nil {
		_, err = open(f.b[:h.FileLen])
	}
	if kindOf(err) == nil {
		t.Errorf("error %v, want one of the package's", err)
	}
}

func TestBytes(t *testing.T) {
	records := keyed(1, 2, 3)
	b := format.Bytes(records)
	if len(b) != 3*format.RecordLen || !bytes.Equal(b[format.RecordLen:2*format.RecordLen], records[1][:]) {
		t.Errorf("Bytes gives %x", b)
	}
	if got := format.Records(b); len(got) != 3 || &got[2] != &records[2] {
		t.Error("Records of Bytes is other memory")
	}
	if len(format.Bytes(nil)) != 0 || len(format.Records(nil)) != 0 {
		t.Error("of nothing there is something")
	}
}

package format_test

import (
	"bytes"
	"errors"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

// Get finds every record of a file, and none of the ids beside them.
func TestGetFindsRecordsAndNoOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genDataSet(700).Draw(t, "data set")
		b := want.write(t)
		r := bytes.NewReader(b)
		x, err := format.Open(r, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		records := map[format.Key]format.Record{}
		keys := []format.Key{{}, {Hi: 1<<64 - 1, Lo: 1<<64 - 1}}
		for _, record := range want.records {
			k := record.Key()
			records[k] = record
			keys = append(keys, k, format.Key{Hi: k.Hi, Lo: k.Lo - 1}, format.Key{Hi: k.Hi, Lo: k.Lo + 1}, format.Key{Hi: k.Hi + 1, Lo: k.Lo})
		}
		for _, k := range keys {
			got, found, err := x.Get(r, k)
			if record, ok := records[k]; err != nil || found != ok || got != record {
				t.Fatalf("Get(%s) = %x, %t, %v; want %x, %t", k, got, found, err, record, ok)
			}
		}
	})
}

// In a damaged block, Get neither finds a record nor reports the absence of one.
func TestGetVerifiesBlock(t *testing.T) {
	var even []uint64
	for i := range uint64(3 * format.RecordsPerBlock) {
		even = append(even, 2*i)
	}
	b := dataSet{header: format.Header{Sharding: format.Unsharded}, styles: []format.TimestampStyle{{}}, records: keyed(even...)}.write(t)
	x, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	b[format.BlockOff(1)+100] ^= 1
	for n := range x.MaxKey.Lo {
		bad := n/2/format.RecordsPerBlock == 1
		_, found, err := x.Get(bytes.NewReader(b), format.Key{Lo: n})
		if errors.Is(err, format.ErrChecksum) != bad || !bad && err != nil || found != (!bad && n%2 == 0) {
			t.Fatalf("Get(%d): found %t, %v", n, found, err)
		}
	}
}

func TestGetReturnsErrorOfReader(t *testing.T) {
	records := ascending(10 * format.RecordsPerBlock)
	b := dataSet{header: format.Header{Sharding: format.Unsharded}, styles: []format.TimestampStyle{{}}, records: records}.write(t)
	x, err := format.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	errDisk := errors.New("disk error")
	for n := range 100 {
		_, found, err := x.Get(&failingReader{bytes.NewReader(b), n, errDisk}, records[700].Key())
		if err == nil {
			if n < 6 || !found { // 3 or 4 fences, the block, its fences and its checksum
				t.Errorf("%d reads, found %t", n, found)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("error %v after %d reads, want %v", err, n, errDisk)
		}
	}
}

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

// After OpenHead, Get returns the same as after Open, or an error, whichever byte of
// the file is damaged.
func TestGetAfterOpenHead(t *testing.T) {
	var odd []uint64
	for i := range uint64(2*format.RecordsPerBlock + 3) {
		odd = append(odd, 1000+2*i)
	}
	good := dataSet{header: format.Header{Sharding: format.Unsharded}, styles: []format.TimestampStyle{{}}, records: keyed(odd...)}.write(t)
	var keys []format.Key
	for _, n := range []uint64{0, 999, 1000, 1001, 1002, 1253, 1254, 1255, 1256, 1257, 1300, 1301, 1510, 1511, 1512, 1513, 1516, 1517, 2000} {
		keys = append(keys, format.Key{Lo: n})
	}
	get := func(b []byte, key format.Key) (found bool, err error) {
		x, err := format.OpenHead(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return false, err
		}
		r, found, err := x.Get(bytes.NewReader(b), key)
		if found && r.Key() != key {
			t.Fatalf("Get(%s) returns the record of %s", key, r.Key())
		}
		return found, err
	}
	want := map[format.Key]bool{}
	for _, key := range keys {
		want[key] = key.Lo%2 == 0 && key.Lo >= 1000 && key.Lo < 1000+2*uint64(len(odd))
		if found, gerr := get(good, key); gerr != nil || found != want[key] {
			t.Fatalf("Get(%s): %t, %v; want %t", key, found, gerr, want[key])
		}
	}
	b := bytes.Clone(good)
	for i := range b {
		for _, bit := range []byte{0x01, 0x80, 0xff} {
			b[i] ^= bit
			for _, key := range keys {
				if found, err := get(b, key); err == nil && found != want[key] {
					t.Fatalf("byte %d ^ %#x: Get(%s): %t, want %t", i, bit, key, found, want[key])
				}
			}
			b[i] ^= bit
		}
	}
}

package format_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"promostore/format"
)

// FuzzOpen opens arbitrary bytes. With seal it recomputes their checksums first,
// because few inputs would pass the header otherwise. It rewrites every accepted
// file and compares the bytes.
//
// Run it with -fuzzminimizetime=1s. By default, minimizing an input of some KiB
// blocks the fuzzer for a minute.
func FuzzOpen(f *testing.F) {
	paths, err := filepath.Glob(filepath.Join(goldenDir, "*.pgen"))
	if err != nil || len(paths) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			b = bytes.Clone(b)
			sealAny(b)
		}
		got, err := open(b)
		if err != nil {
			if kindOf(err) == nil {
				t.Fatalf("%v is not a kind of damage", err)
			}
			return
		}
		for i := range min(len(got.records), 4) { // all records would be slow
			r := &got.records[i]
			for _, s := range []format.JSONOptions{
				format.DefaultJSONOptions,
				{Date: format.DateSource, Decimals: 2}, {Date: format.DateUTC}, {Date: format.DateRFC3339},
			} {
				checkJSON(t, s, r, got.styles)
			}
		}
		if again := got.write(t); !bytes.Equal(again, b) {
			t.Fatalf("the rewritten file differs at offset %d", firstDifference(again, b))
		}
	})
}

// sealAny recomputes the checksums of b, at the offsets that follow from its
// header.
func sealAny(b []byte) {
	if len(b) < format.HeaderLen {
		return
	}
	put := func(at, lo, hi int) { binary.BigEndian.PutUint32(b[at:], format.Checksum(b[lo:hi])) }
	records := binary.BigEndian.Uint64(b[32:])
	blocks := int(min(records, 1<<20)+127) / 128
	fences := 4096 + blocks*4096
	sums := fences + blocks*16
	trailer := sums + blocks*4
	if trailer+20 <= len(b) {
		for i := range blocks {
			put(sums+i*4, 4096+i*4096, 4096+(i+1)*4096)
		}
		put(trailer, fences, sums)
		put(trailer+4, sums, trailer)
		put(len(b)-4, trailer, len(b)-4)
	}
	put(4092, 0, 4092)
}

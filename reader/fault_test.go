package reader_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/format"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestCutInPlace cuts files that are open, as rsync --inplace or a full disk
// would, and looks up what is no longer there.
func TestCutInPlace(t *testing.T) {
	keys := makeKeys("v4", 10_000, 0)
	for _, access := range accesses {
		// Cuts within the header, at a page's end, and within a page.
		for i, size := range []int64{0, 1, format.HeaderLen, format.HeaderLen + 10*format.BlockLen, format.HeaderLen + 10*format.BlockLen + 100, format.HeaderLen + 10*format.BlockLen + 100, format.HeaderLen + 10*format.BlockLen} {
			path := filepath.Join(t.TempDir(), "f")
			writeFile(t, path, 1, keys)
			f, err := reader.Open(path, access)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if i%2 == 1 { // lookups do not go by the fences alone
				if err := f.Verify(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			faults := 0
			for i, k := range keys {
				r, found, err := f.Get(k)
				off := format.HeaderLen + int64(i+1)*format.RecordLen
				switch {
				case errors.Is(err, reader.ErrFault):
					faults++
					if want := fmt.Sprintf("lookup of %s: ", k); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), fmt.Sprintf("%d bytes of", size)) {
						t.Fatalf("%v: %v", access, err)
					}
				case err == nil && found && r == recordOf(k):
				case errors.Is(err, format.ErrCorrupt) && size%format.BlockLen != 0:
					// In the page with the cut, zeros stand behind it.
				default:
					t.Fatalf("%v cut to %d: Get(record %d) = %x, %v, %v", access, size, i, r, found, err)
				}
				if found && off > size {
					t.Fatalf("%v cut to %d: a record ends at %d", access, size, off)
				}
			}
			if faults == 0 {
				t.Errorf("%v cut to %d: no fault", access, size)
			}
			if err := f.Verify(t.Context(), nil); !errors.Is(err, format.ErrTruncated) {
				t.Errorf("%v cut to %d: Verify: %v", access, size, err)
			}
			err = f.Scan(t.Context(), func([]format.Record) error { return nil })
			if !errors.Is(err, format.ErrTruncated) {
				t.Errorf("%v cut to %d: Scan: %v", access, size, err)
			}
		}
	}
}

// TestDamagedLater damages a record of a file that was verified.
func TestDamagedLater(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	for _, access := range accesses {
		path := filepath.Join(t.TempDir(), "f")
		writeFile(t, path, 1, keys)
		f, err := reader.Open(path, access)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		gentest.Overwrite(t, path, format.HeaderLen+500*format.RecordLen+format.KeyLen, bytes.Repeat([]byte{0xFF}, format.RecordLen-format.KeyLen))
		if _, found, err := f.Get(keys[500]); found || !errors.Is(err, reader.ErrFault) || !errors.Is(err, format.ErrCorrupt) {
			t.Errorf("%v: %v, %v", access, found, err)
		}
	}
}

// TestDamage damages a record of a file that is not verified.
func TestDamage(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	for _, access := range accesses {
		path := filepath.Join(t.TempDir(), "f")
		writeFile(t, path, 1, keys)
		// Every field of record 500 but its id is beyond its limits.
		gentest.Overwrite(t, path, format.HeaderLen+500*format.RecordLen+format.KeyLen, []byte("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"))
		// The id of record 700 and its neighbours does not belong into the block.
		gentest.Overwrite(t, path, format.HeaderLen+699*format.RecordLen, make([]byte, 3*format.RecordLen))
		f, err := reader.Open(path, access)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for i, k := range keys {
			r, found, err := f.Get(k)
			switch {
			case i == 500 || 699 <= i && i <= 701:
				if !errors.Is(err, format.ErrCorrupt) || found {
					t.Errorf("%v: Get(record %d) = %v, %v; want %v", access, i, found, err, format.ErrCorrupt)
				}
			case 640 <= i && i < 768: // the search may meet what is out of order
				if found && r != recordOf(k) {
					t.Errorf("%v: Get(record %d) = %x", access, i, r)
				}
			case !found || err != nil || r != recordOf(k):
				t.Errorf("%v: Get(record %d) = %x, %v, %v", access, i, r, found, err)
			}
		}
		if err := f.Verify(t.Context(), nil); !errors.Is(err, format.ErrChecksum) {
			t.Errorf("Verify: %v", err)
		}
		if err := f.Scan(t.Context(), func([]format.Record) error { return nil }); !errors.Is(err, format.ErrChecksum) {
			t.Errorf("Scan: %v", err)
		}
	}
}

// TestClosed looks up in a file that was closed.
func TestClosed(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	path := filepath.Join(t.TempDir(), "f")
	writeFile(t, path, 1, keys)
	for _, access := range accesses {
		f, err := reader.Open(path, access)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("%v: Close: %v", access, err)
			}
		}
		for _, k := range []format.Key{keys[0], keys[500]} {
			if _, found, err := f.Get(k); found || !errors.Is(err, os.ErrClosed) {
				t.Errorf("%v: Get: %v, %v", access, found, err)
			}
		}
		if err := f.Verify(t.Context(), nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%v: Verify: %v", access, err)
		}
		if err := f.Scan(t.Context(), func([]format.Record) error { return nil }); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%v: Scan: %v", access, err)
		}
	}
}

// TestOpenErrors opens what is no generation file.
func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	writeFile(t, path, 1, makeKeys("v4", 1000, 0))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		content []byte
		want    error
	}{
		{"empty", nil, format.ErrFormat},
		{"text", make([]byte, 2*format.HeaderLen), format.ErrFormat},
		{"another version", append([]byte("PROMOGEN\x00\x00\x00\x02"), whole[12:]...), format.ErrVersion},
		{"cut", whole[:len(whole)-1], format.ErrTruncated},
		{"longer", append(whole[:len(whole):len(whole)], 0), format.ErrTruncated},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.content, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, access := range accesses {
			if _, err := reader.Open(path, access); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	}
	if _, err := reader.Open(filepath.Join(dir, "none"), reader.AccessMmap); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := reader.Open(dir, reader.AccessMmap); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("a directory: %v", err)
	}
	// As without /proc: a Store takes it that a file which does not exist was
	// removed, and says nothing.
	if err := reader.ReopenError(os.ErrNotExist); errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/proc") {
		t.Errorf("without /proc: %v", err)
	}
}

// TestZeroedBlock: a block that was cut off and put back as zeros, as a copy in
// place leaves it for a while, is never taken for one without the id.
func TestZeroedBlock(t *testing.T) {
	for name, keys := range map[string][]format.Key{
		"two blocks": makeKeys("v4", 200, 0),
		"many":       makeKeys("v4", 2000, 0),
		"alike":      makeKeys("ties", 2000, 0),
	} {
		for block := range (len(keys) + format.RecordsPerBlock - 1) / format.RecordsPerBlock {
			path := filepath.Join(t.TempDir(), "f")
			writeFile(t, path, 1, keys)
			f := open(t, path, reader.AccessPread)
			defer f.Close()
			gentest.Overwrite(t, path, format.BlockOff(int64(block)), make([]byte, format.BlockLen))
			for i, k := range keys {
				if _, found, err := f.Get(k); !found && err == nil {
					t.Fatalf("%s, block %d zeroed: record %d, %s, is not found", name, block, i, k)
				} else if found && i/format.RecordsPerBlock == block {
					t.Fatalf("%s: record %d of zeroed block %d is found", name, i, block)
				}
			}
		}
	}
}

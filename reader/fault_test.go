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
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestTruncatedWhileOpen truncates open files in place, like rsync --inplace or
// a full disk, and looks up the records that are gone.
func TestTruncatedWhileOpen(t *testing.T) {
	const blockEnd = format.HeaderLen + 10*format.BlockLen
	keys := makeKeys("v4", 10_000, 0)
	for _, access := range accesses {
		for _, c := range []struct {
			size     int64
			verified bool // lookups use the model, not the fences alone
		}{
			{0, false},
			{1, true},
			{format.HeaderLen, false},
			{blockEnd, true},
			{blockEnd + 100, false}, // within a page
			{blockEnd + 100, true},
			{blockEnd, false},
		} {
			path := filepath.Join(t.TempDir(), "f")
			writeKeys(t, path, 1, keys)
			f := open(t, path, access)
			if c.verified {
				verify(t, f)
			}
			gentest.Must(t, os.Truncate(path, c.size))
			faults := 0
			for i, k := range keys {
				r, found, err := f.Get(k)
				switch {
				case errors.Is(err, reader.ErrFault):
					faults++
					if text := err.Error(); !strings.Contains(text, fmt.Sprintf("lookup of %s: ", k)) || !strings.Contains(text, fmt.Sprintf("now: %d bytes, ", c.size)) {
						t.Fatalf("%v: %v", access, err)
					}
				case err == nil && found && r == recordOf(k):
				case errors.Is(err, format.ErrCorrupt) && c.size%format.BlockLen != 0:
					// The rest of the last page reads as zeros.
				default:
					t.Fatalf("%v, truncated to %d: Get(record %d) = %x, %t, %v", access, c.size, i, r, found, err)
				}
				if end := format.HeaderLen + int64(i+1)*format.RecordLen; found && end > c.size {
					t.Fatalf("%v, truncated to %d: a record that ends at %d is found", access, c.size, end)
				}
			}
			if faults == 0 {
				t.Errorf("%v, truncated to %d: no fault", access, c.size)
			}
			if err := f.Verify(t.Context(), nil); !errors.Is(err, format.ErrTruncated) {
				t.Errorf("%v, truncated to %d: Verify: %v", access, c.size, err)
			}
		}
	}
}

// TestDamagedAfterVerify damages a record of a verified file.
func TestDamagedAfterVerify(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	for _, access := range accesses {
		path := filepath.Join(t.TempDir(), "f")
		writeKeys(t, path, 1, keys)
		f := open(t, path, access)
		verify(t, f)
		gentest.Overwrite(t, path, format.HeaderLen+500*format.RecordLen+format.KeyLen, bytes.Repeat([]byte{0xFF}, format.RecordLen-format.KeyLen))
		if _, found, err := f.Get(keys[500]); found || !errors.Is(err, reader.ErrFault) || !errors.Is(err, format.ErrCorrupt) {
			t.Errorf("%v: %t, %v", access, found, err)
		}
	}
}

// TestDamagedWithoutVerify damages records of a file that is not verified.
func TestDamagedWithoutVerify(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	for _, access := range accesses {
		path := filepath.Join(t.TempDir(), "f")
		writeKeys(t, path, 1, keys)
		// The fields of record 500 exceed their limits.
		gentest.Overwrite(t, path, format.HeaderLen+500*format.RecordLen+format.KeyLen, bytes.Repeat([]byte{0xFF}, format.RecordLen-format.KeyLen))
		// The ids of records 699 to 701 do not belong in their block.
		gentest.Overwrite(t, path, format.HeaderLen+699*format.RecordLen, make([]byte, 3*format.RecordLen))
		f := open(t, path, access)
		for i, k := range keys {
			r, found, err := f.Get(k)
			switch {
			case i == 500 || 699 <= i && i <= 701:
				if !errors.Is(err, format.ErrCorrupt) || found {
					t.Errorf("%v: Get(record %d) = %t, %v; want %v", access, i, found, err, format.ErrCorrupt)
				}
			case 640 <= i && i < 768: // the search in this block can meet a damaged id
				if found && r != recordOf(k) {
					t.Errorf("%v: Get(record %d) = %x", access, i, r)
				}
			case !found || err != nil || r != recordOf(k):
				t.Errorf("%v: Get(record %d) = %x, %t, %v", access, i, r, found, err)
			}
		}
		if err := f.Verify(t.Context(), nil); !errors.Is(err, format.ErrChecksum) {
			t.Errorf("Verify: %v", err)
		}
	}
}

// TestZeroedBlock overwrites a block with zeros, as a copy in place leaves it
// for a while. Lookups must return an error for its ids, not "not found".
func TestZeroedBlock(t *testing.T) {
	for name, keys := range map[string][]format.Key{
		"two blocks":               makeKeys("v4", 200, 0),
		"many blocks":              makeKeys("v4", 2000, 0),
		"fences of equal position": makeKeys("three clusters", 2000, 0),
	} {
		for block := range (len(keys) + format.RecordsPerBlock - 1) / format.RecordsPerBlock {
			path := filepath.Join(t.TempDir(), "f")
			writeKeys(t, path, 1, keys)
			f := open(t, path, reader.AccessPread)
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

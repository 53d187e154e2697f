package reader_test

import (
	"errors"
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestVerifyKey damages one block. VerifyKey returns an error for the ids from
// its fence up to the next, whether they are present or not, and for no others.
func TestVerifyKey(t *testing.T) {
	const damaged = 3
	for distribution := range distributions {
		keys := makeKeys(distribution, 1000, 0)
		path := filepath.Join(t.TempDir(), "f")
		writeKeys(t, path, 1, keys)
		gentest.Flip(t, path, format.BlockOff(damaged)+5*format.RecordLen+20) // a byte of a price
		lo, hi := keys[damaged*format.RecordsPerBlock], keys[(damaged+1)*format.RecordsPerBlock]
		for _, access := range accesses {
			f := open(t, path, access)
			for _, k := range append(keys, format.Key{}, format.Key{Hi: ^uint64(0), Lo: ^uint64(0)}) {
				for _, k := range []format.Key{minusOne(k), k, plus(k, 1)} {
					bad := !k.Less(lo) && k.Less(hi)
					if err := f.VerifyKey(k); errors.Is(err, format.ErrChecksum) != bad || !bad && err != nil {
						t.Fatalf("%s, %v, %s: %v", distribution, access, k, err)
					}
				}
			}
		}
	}
}

func TestVerifyKeyInEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty")
	writeKeys(t, path, 1, nil)
	if err := open(t, path, reader.AccessPread).VerifyKey(format.Key{}); err != nil {
		t.Error(err)
	}
}

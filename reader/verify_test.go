package reader_test

import (
	"errors"
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/internal/gentest"
	"promostore/reader"
)

// With one block damaged, VerifyKey refuses the ids from its first up to the
// first of the next block, whether they are there or not, and no others.
func TestVerifyKey(t *testing.T) {
	const damaged = 3
	for distribution := range distributions {
		keys := makeKeys(distribution, 1000, 0)
		path := filepath.Join(t.TempDir(), "f")
		writeFile(t, path, 1, keys)
		record := recordOf(keys[damaged*format.RecordsPerBlock+5])
		record[20] ^= 1 << 3 // a bit of its price
		gentest.Overwrite(t, path, format.BlockOff(damaged)+5*format.RecordLen, record[:])
		lo, hi := keys[damaged*format.RecordsPerBlock], keys[(damaged+1)*format.RecordsPerBlock]
		for _, access := range accesses {
			f, err := reader.Open(path, access)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
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
	path := filepath.Join(t.TempDir(), "empty")
	writeFile(t, path, 1, nil)
	f := open(t, path, reader.AccessPread)
	defer f.Close()
	if err := f.VerifyKey(format.Key{}); err != nil {
		t.Errorf("an empty file: %v", err)
	}
}

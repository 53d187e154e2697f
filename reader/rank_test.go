package reader_test

import (
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/reader"
)

// TestRanksPay wants the first look of Get to be in the right place for almost
// every id that is random or evenly spread. Get would be right without, only
// slow.
func TestRanksPay(t *testing.T) {
	even := func(n int) []format.Key { // up to the last id that there can be
		keys := make([]format.Key, n)
		for i := range keys {
			keys[n-1-i] = format.Key{Hi: ^uint64(0) - uint64(i)*(3<<62/uint64(n)), Lo: ^uint64(0)}
		}
		return keys
	}
	for name, keys := range map[string][]format.Key{
		"v4":                          makeKeys("v4", 100_000, 0),
		"sequential":                  makeKeys("sequential", 100_000, 0),
		"even":                        even(100_000),
		"even, one in the last block": even(781*format.RecordsPerBlock + 1),
	} {
		path := filepath.Join(t.TempDir(), "f")
		writeFile(t, path, 1, keys)
		f, err := reader.Open(path, reader.AccessMmap)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, _, ok := reader.FirstWindow(f, keys[len(keys)/2]); ok {
			t.Errorf("%s: a table before the file is verified", name)
		}
		if err := f.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for part, lo := range map[string]int{"all": 0, "the last 500": len(keys) - 500} {
			tried, hits := 0, 0
			for i, k := range keys[lo:] {
				from, to, ok := reader.FirstWindow(f, k)
				if !ok {
					continue
				}
				tried++
				if from <= lo+i && lo+i < to {
					hits++
				}
			}
			// The first and the last block are not in the table.
			if n := len(keys) - lo; tried < n-2*format.RecordsPerBlock || hits < tried*9/10 {
				t.Errorf("%s: of %s ids %d are in the table and %d in the first window", name, part, tried, hits)
			}
		}
	}
}

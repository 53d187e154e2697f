package reader_test

import (
	"path/filepath"
	"testing"

	"promostore/format"
	"promostore/reader"
)

// TestTouchPays wants Get to touch, as a rule, the page that the record is in,
// and always one that there is.
func TestTouchPays(t *testing.T) {
	const n = 100_000
	for _, kind := range []string{"v4", "sequential"} {
		keys := makeKeys(kind, n, 0)
		path := filepath.Join(t.TempDir(), "f")
		writeFile(t, path, 1, keys)
		f := open(t, path, reader.AccessMmap)
		defer f.Close()
		verify(t, f)
		// Ranks of random ids between two starts with m of them are off by the
		// root of m/4 in the middle, the worst place: three times that is as
		// good as never.
		for starts, within := range map[int]int{1000: 3 * 32, 9: 3 * 59, 2: 3 * 159} {
			tried, near := 0, 0
			for i := 0; i < n; i += 7 {
				at, ok := reader.Touched(f, keys[i], starts)
				if !ok {
					continue
				}
				tried++
				if at < 0 || at >= n {
					t.Fatalf("%s, %d starts: record %d", kind, starts, at)
				}
				if at-i < within && i-at < within {
					near++
				}
			}
			if tried < n/8 || near < tried*99/100 {
				t.Errorf("%s, %d starts: of %d ids %d are within %d records", kind, starts, tried, near, within)
			}
		}
	}
}

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
		f := open(t, path, reader.AccessMmap)
		defer f.Close()
		if _, _, ok := reader.FirstWindow(f, keys[len(keys)/2]); ok {
			t.Errorf("%s: a table before the file is verified", name)
		}
		verify(t, f)
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

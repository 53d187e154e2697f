package reader_test

import (
	"path/filepath"
	"testing"

	"promostore/reader"
)

// TestRanksPay wants the table of ranks to find almost every random id. Get
// would be right without it, only slow.
func TestRanksPay(t *testing.T) {
	keys := makeKeys("v4", 100_000, 0)
	path := filepath.Join(t.TempDir(), "f")
	writeFile(t, path, 1, keys)
	f, err := reader.Open(path, reader.AccessMmap)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	near := 0
	for _, k := range keys {
		found, err := reader.FindNear(f, k)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			near++
		}
	}
	if near < len(keys)/10*9 {
		t.Errorf("%d of %d ids are found near where the table says", near, len(keys))
	}
}

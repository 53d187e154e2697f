package reader_test

import (
	"path/filepath"
	"runtime"
	"testing"

	"promostore/reader"
)

// TestHeap wants an open file to take a tenth of a byte a record at most, and
// little besides, however its ids are spread.
func TestHeap(t *testing.T) {
	const fixed = 256 << 10 // bytes
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what sync.Pool kept
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for _, distribution := range []string{"v4", "v7", "sequential"} {
		for _, n := range []int{1 << 18, 3 << 19} {
			keys := makeKeys(distribution, n, 0)
			path := filepath.Join(t.TempDir(), "f")
			writeFile(t, path, 1, keys)
			for _, access := range accesses {
				before := heap()
				f, err := reader.Open(path, access)
				if err != nil {
					t.Fatal(err)
				}
				opened := heap()
				if err := f.Verify(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				verified := heap()
				t.Logf("%s, %d records, %v: %.4f bytes a record, verified %.4f", distribution, len(keys), access,
					(float64(opened)-float64(before))/float64(len(keys)), (float64(verified)-float64(before))/float64(len(keys)))
				if bar := before + fixed + uint64(len(keys)/10); opened > bar || verified > bar {
					t.Errorf("%s, %d records, %v: %d bytes of heap before, %d open, %d verified", distribution, len(keys), access, before, opened, verified)
				}
				if _, found, err := f.Get(keys[n/3]); !found || err != nil {
					t.Error(found, err)
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
			}
			runtime.KeepAlive(keys)
		}
	}
}

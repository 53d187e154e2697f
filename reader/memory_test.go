package reader_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"promostore/reader"
)

const (
	// maxFileHeap limits the heap of an open file without its tables, in bytes.
	maxFileHeap = 256 << 10

	// maxRounding limits the bytes by which the three tables of a file exceed
	// their length.
	maxRounding = 3 * 8 << 10
)

// maxTableBytes limits the tables of a file with n records: 1/64 byte per record
// for the model that Open trains from the fences, then 1/16 for the positions of
// the fences (pread) or the model that Verify trains (mmap), with a coarse model
// of at most 128 KiB. The documented total is 0.1 byte per record.
func maxTableBytes(n int, access reader.Access, verified bool) int {
	switch {
	case access == reader.AccessPread:
		return n/64 + n/16
	case verified:
		return n/64 + n/16 + min(n/512, 128<<10)
	}
	return n / 64
}

// heap returns the bytes of live objects.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // sync.Pool keeps objects for one collection
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestHeap limits the heap of open files: one that is open, one that is
// verified, and two, like a server has during a change of generations.
func TestHeap(t *testing.T) {
	for _, distribution := range []string{"v4", "v7", "sequential"} {
		fixed := map[string]int{} // heap without tables, with the first number of records
		for _, n := range []int{1 << 18, 1 << 21} {
			keys := makeKeys(distribution, n, 0)
			n := len(keys)
			path := filepath.Join(t.TempDir(), "f")
			writeKeys(t, path, 1, keys)
			for _, access := range accesses {
				before := heap()
				check := func(state string, files, tables int) {
					t.Helper()
					used := heap() - before
					name := fmt.Sprintf("%s, %v, %s", distribution, access, state)
					most := files * maxFileHeap
					if first, ok := fixed[name]; ok {
						most = first + files*maxRounding
					}
					fixed[name] = used - tables
					t.Logf("%s, %d records: %.4f bytes per record", name, n, float64(used)/float64(n))
					if used > tables+most {
						t.Errorf("%s, %d records: %d bytes of heap, want %d at most", name, n, used, tables+most)
					}
				}
				opened, verified := maxTableBytes(n, access, false), maxTableBytes(n, access, true)
				live := open(t, path, access)
				check("one open", 1, opened)
				verify(t, live)
				check("one verified", 1, verified)
				next := open(t, path, access)
				check("another open", 2, verified+opened)
				verify(t, next)
				check("another verified", 2, 2*verified)
				for _, f := range []*reader.File{live, next} {
					if _, found, err := f.Get(keys[n/3]); !found || err != nil {
						t.Error(found, err)
					}
					if err := f.Close(); err != nil {
						t.Error(err)
					}
				}
			}
			runtime.KeepAlive(keys)
		}
	}
}

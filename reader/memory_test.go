package reader_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"promostore/reader"
)

const (
	// heapFixed is what an open file takes besides its tables, in bytes: little
	// of the 64 MiB that a server may take besides them.
	heapFixed = 256 << 10

	// heapRounding is how much larger than asked for its three tables are.
	heapRounding = 3 * 8 << 10
)

// tableBytes is what the tables of n records may take: 1/64 byte a record that
// opening learns from the fences, and then 1/16, which is the half of each
// fence for pread, or what verifying learns of a mapping. A server has 0.1
// byte a record for them. Of a mapping it keeps some ranks once more, in 128 KiB
// at most.
func tableBytes(n int, access reader.Access, verified bool) int {
	switch {
	case access == reader.AccessPread:
		return n/64 + n/16
	case verified:
		return n/64 + n/16 + min(n/512, 128<<10)
	}
	return n / 64
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what sync.Pool kept
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestHeap wants open files to take what is promised, however their ids are
// spread: one that is open, one that is verified, and two of them, as a server
// has while generations change.
func TestHeap(t *testing.T) {
	for _, distribution := range []string{"v4", "v7", "sequential"} {
		small := map[string]int{} // what the first size takes besides its tables
		for _, n := range []int{1 << 18, 1 << 21} {
			keys := makeKeys(distribution, n, 0)
			n := len(keys)
			path := filepath.Join(t.TempDir(), "f")
			writeFile(t, path, 1, keys)
			for _, access := range accesses {
				before := heap()
				want := func(state string, files, tables int) {
					t.Helper()
					took := heap() - before
					name := fmt.Sprintf("%s, %v, %s", distribution, access, state)
					most := files * heapFixed
					if before, ok := small[name]; ok {
						most = before + files*heapRounding
					}
					small[name] = took - tables
					t.Logf("%s, %d records: %.4f bytes a record", name, n, float64(took)/float64(n))
					if took > tables+most {
						t.Errorf("%s, %d records: %d bytes of heap, want %d at most", name, n, took, tables+most)
					}
				}
				opened, verified := tableBytes(n, access, false), tableBytes(n, access, true)
				live := open(t, path, access)
				want("open", 1, opened)
				verify(t, live)
				want("verified", 1, verified)
				next := open(t, path, access)
				want("another open", 2, verified+opened)
				verify(t, next)
				want("another verified", 2, 2*verified)
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

func open(t *testing.T, path string, access reader.Access) *reader.File {
	t.Helper()
	f, err := reader.Open(path, access)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func verify(t *testing.T, f *reader.File) {
	t.Helper()
	if err := f.Verify(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

//go:build system

package reader_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/fusetest"
	"promostore/internal/gentest"
	"promostore/internal/uring"
	"promostore/reader"
)

// numThreads returns the number of threads of the process.
func numThreads(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestHangingDiskIsBounded looks up 1,500 promotions on a disk that answers no
// read. The process must not create a thread for each, lookups of cached blocks
// must go on, and all lookups must end when the disk answers again.
func TestHangingDiskIsBounded(t *testing.T) {
	const clients = 1500
	m := fusetest.New(t)
	keys := makeKeys("v4", clients*format.RecordsPerBlock, 0)
	writeKeys(t, filepath.Join(m.Backing, "f"), 1, keys)
	f := open(t, filepath.Join(m.Dir, "f"), reader.AccessPread)
	cached := keys[0]
	if _, found, err := f.Get(cached); !found || err != nil {
		t.Fatalf("Get = %t, %v", found, err)
	}
	m.Hang(format.HeaderLen + format.BlockLen)
	before := numThreads(t)

	var busy, done atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			switch _, found, err := f.Get(keys[i*format.RecordsPerBlock+5]); {
			case errors.Is(err, reader.ErrBusy):
				busy.Add(1)
			case err != nil || !found:
				t.Errorf("Get(block %d) = %t, %v", i, found, err)
			default:
				done.Add(1)
			}
		})
	}
	most, lookups := 0, 0
	start := time.Now()
	for busy.Load() == 0 && time.Since(start) < time.Minute {
		if _, found, err := f.Get(cached); !found || err != nil {
			t.Fatalf("cached block: Get %d = %t, %v; %d threads", lookups, found, err, most)
		}
		lookups++
		most = max(most, numThreads(t))
	}
	if most > before+200 {
		t.Errorf("%d threads, %d before", most, before)
	}
	if lookups < 20 {
		t.Errorf("%d lookups of a cached block while the disk hung, want at least 20", lookups)
	}
	m.Heal()
	wg.Wait()
	t.Logf("threads: %d before, %d at most; %d lookups of a cached block; %d done, %d busy", before, most, lookups, done.Load(), busy.Load())
	if _, found, err := f.Get(keys[len(keys)-1]); !found || err != nil {
		t.Errorf("afterward: Get = %t, %v", found, err)
	}
}

// TestHangingDiskReadsNothingForRefused looks up 1,500 promotions on a disk that
// answers no read, through io_uring. Those that are refused must not start a
// read, or the disk would serve them before others when it answers again.
func TestHangingDiskReadsNothingForRefused(t *testing.T) {
	const clients = 1500
	keys := makeKeys("v4", clients*format.RecordsPerBlock, 0)
	m, dir := fusetest.NewDisk(t, 64<<20, func(dir string) {
		writeKeys(t, filepath.Join(dir, "f"), 1, keys)
	})
	f := open(t, filepath.Join(dir, "f"), reader.AccessPread)
	if !f.UsesRing() {
		t.Skip("io_uring is not available")
	}
	file, err := os.Open(filepath.Join(dir, "f"))
	gentest.Must(t, err)
	defer file.Close()
	gentest.Must(t, unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED))
	cached := keys[0]
	get := func(k format.Key) error {
		_, found, err := f.Get(k)
		if !found && err == nil {
			t.Errorf("%s is not found", k)
		}
		return err
	}
	gentest.Must(t, get(cached))
	m.Hang(0)
	before, threads := readPages(t, file), numThreads(t)

	var refused atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			switch err := get(keys[i*format.RecordsPerBlock+5]); {
			case errors.Is(err, reader.ErrBusy):
				refused.Add(1)
			case err != nil:
				t.Errorf("Get(block %d): %v", i, err)
			}
		})
	}
	for start := time.Now(); refused.Load() < clients-uring.Len-1 && time.Since(start) < time.Minute; {
		gentest.Must(t, get(cached))
	}
	reads, most := readPages(t, file)-before, numThreads(t)
	m.Heal()
	wg.Wait()
	t.Logf("%d lookups refused, %d reads, %d threads", refused.Load(), reads, most)
	if n := int64(clients) - refused.Load(); reads > n || n > uring.Len+1 {
		t.Errorf("%d reads for %d lookups that were not refused, want at most %d", reads, n, uring.Len)
	}
	if most > threads+100 {
		t.Errorf("%d threads, %d before", most, threads)
	}
	gentest.Must(t, get(keys[len(keys)-1]))
}

// readPages returns the number of pages of a file that are in the page cache or
// are being read into it.
func readPages(t *testing.T, f *os.File) int64 {
	t.Helper()
	var stat unix.Cachestat_t
	gentest.Must(t, unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0))
	return int64(stat.Cache)
}

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

	"promostore/format"
	"promostore/internal/fusetest"
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

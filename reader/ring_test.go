package reader

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"promostore/format"
)

// A kernel that takes no reads any more, as under a seccomp profile that allows
// io_uring_setup alone, leaves them to who asked. If that passes the ring goes
// on, and if it does not it is given up.
func TestRingRefused(t *testing.T) {
	content := bytes.Repeat([]byte{1}, format.BlockLen)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file := int(f.Fd())

	for _, goroutines := range []int{1, 2 * ringLen} {
		r := newRing()
		if r == nil {
			return // the kernel has none
		}
		reads := func(times int, want bool) {
			t.Helper()
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					buf := new(blockBuffer)
					for range times {
						if got := r.read(file, buf, 0); got && !bytes.Equal(buf[:], content) || got != want && goroutines == 1 {
							t.Errorf("%d goroutines: read is %v, want %v", goroutines, got, want)
						}
					}
				})
			}
			wg.Wait()
		}
		good := r.fd
		reads(2*ringLen, true)
		if goroutines == 1 {
			r.fd = -1
			reads(maxRefusals-1, false)
			r.fd = good
			reads(1, true)
		}
		r.fd = -1
		reads(2*maxRefusals, false)
		r.fd = good
		if r.read(file, new(blockBuffer), 0) {
			t.Errorf("%d goroutines: the ring is used after %d refusals", goroutines, maxRefusals)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

// A ring that nobody has read from, or nobody reads from any more, closes.
func TestRingIdle(t *testing.T) {
	for range 100 {
		if r := newRing(); r != nil {
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

package reader

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/uring"
)

const coldBlocks = 4096

// openColdFile returns a file of coldBlocks blocks outside the page cache. The
// ring may be nil.
func openColdFile(t *testing.T, r *ring) (b *blockFile, content []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	content = make([]byte, coldBlocks*format.BlockLen)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if b, err = openBlockFile(f, r); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	return b, content
}

// openTestRing returns a ring, or nil if the kernel has none. The end of the test
// closes it.
func openTestRing(t *testing.T) *ring {
	r := openRing()
	t.Cleanup(func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// readAndClose reads random blocks in more goroutines than a ring has slots, and
// checks the content of each and whether a ring was used.
func readAndClose(t *testing.T, b *blockFile, content []byte, ring bool) {
	t.Helper()
	if b.usesRing() != ring {
		t.Errorf("usesRing is %t, want %t", !ring, ring)
	}
	var wg sync.WaitGroup
	for i := range 2 * uring.Len {
		wg.Go(func() {
			rng, buf := rand.New(rand.NewPCG(uint64(i), 0)), newBlockBuffer()
			for range 50 {
				off := rng.Int64N(coldBlocks) * format.BlockLen
				if err := b.read(buf, off); err != nil || !bytes.Equal(buf.block[:], content[off:off+format.BlockLen]) {
					t.Errorf("block at %d differs, or %v", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.usesRing() != ring || ring && b.ring.Completed() == 0 {
		t.Errorf("usesRing is %t, want %t and completed reads", b.usesRing(), ring)
	}
	if err := b.read(newBlockBuffer(), int64(len(content))-1); !errors.Is(err, ErrFault) {
		t.Errorf("a block across the end: %v, want ErrFault", err)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if b.usesRing() {
		t.Error("usesRing is true after close")
	}
	if err := b.read(newBlockBuffer(), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read after close: %v, want os.ErrClosed", err)
	}
}

func TestBlockFile(t *testing.T) {
	t.Run("io_uring", func(t *testing.T) {
		r := openTestRing(t)
		if r == nil {
			t.Skip("the kernel has none")
		}
		b, content := openColdFile(t, r)
		b.readCached(newBlockBuffer(), 0)
		if b.plain.Load() {
			t.Log("the file system for temporary files cannot read without waiting")
		}
		readAndClose(t, b, content, !b.plain.Load())
	})
	t.Run("no io_uring", func(t *testing.T) {
		b, content := openColdFile(t, nil)
		readAndClose(t, b, content, false)
	})
	t.Run("ordinary reads only", func(t *testing.T) {
		b, content := openColdFile(t, openTestRing(t))
		b.plain.Store(true)
		readAndClose(t, b, content, false)
	})
}

// TestRefusedReadLeavesDiskAlone reads blocks while all turns are taken. Blocks
// outside the page cache must not be read, not even in the background; those
// inside must be returned at once.
func TestRefusedReadLeavesDiskAlone(t *testing.T) {
	for _, withRing := range []bool{true, false} {
		t.Run(fmt.Sprintf("ring %t", withRing), func(t *testing.T) {
			var r *ring
			if withRing {
				r = openTestRing(t)
			}
			b, content := openColdFile(t, r)
			defer b.close()
			if err := b.read(newBlockBuffer(), 0); err != nil || !b.isCached(0) {
				t.Fatalf("the first block is not cached, or %v", err)
			}
			for i := range lanes {
				defer fill(lanes[i].tryEnter, lanes[i].leave)()
			}
			defer fill(reads.tryAcquire, reads.release)()
			if r != nil {
				defer fill(r.turns.tryAcquire, r.turns.release)()
			}
			var wg sync.WaitGroup
			for i := 1; i < coldBlocks; i += 64 {
				wg.Go(func() {
					off := int64(i) * format.BlockLen
					if b.isCached(off) {
						return // in a file system in memory, every block is
					}
					if err := b.read(newBlockBuffer(), off); !errors.Is(err, ErrBusy) {
						t.Errorf("block %d: %v, want %v", i, err, ErrBusy)
					}
					if b.isCached(off) {
						t.Errorf("the refused read of block %d has read it from the disk", i)
					}
				})
			}
			for range 1000 {
				if buf := newBlockBuffer(); b.read(buf, 0) != nil || !bytes.Equal(buf.block[:], content[:format.BlockLen]) {
					t.Fatal("a cached block cannot be read")
				}
			}
			wg.Wait()
		})
	}
}

// fill takes turns until there are no more, and returns a function that releases
// them.
func fill(try func() bool, release func()) func() {
	n := 0
	for try() {
		n++
	}
	return func() {
		for range n {
			release()
		}
	}
}

// TestIsCachedWithoutPermission asks for a file of another user, for which the
// kernel reports every page as cached.
func TestIsCachedWithoutPermission(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own")
	content := make([]byte, 3*format.BlockLen+1)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want bool
	}{{path, true}, {"/etc/passwd", false}} {
		f, err := os.Open(c.path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b, err := openBlockFile(f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() == 0 && !c.want { // root has permission; the thread ends with its goroutine
			done := make(chan bool)
			go func() {
				runtime.LockOSThread()
				_, _ = unix.SetfsuidRetUid(65534)
				done <- b.isCached(0)
			}()
			if <-done {
				t.Errorf("%s: a block counts as cached", c.path)
			}
		} else if b.isCached(0) != c.want {
			t.Errorf("%s: isCached is %t, want %t", c.path, !c.want, c.want)
		}
		if b.isCached(int64(len(content)) * 10) {
			t.Errorf("%s: a block after the end counts as cached", c.path)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}
}

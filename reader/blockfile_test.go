package reader

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/uring"
)

const coldBlocks = 4096

// openColdFile returns a file of coldBlocks blocks outside the page cache.
func openColdFile(t *testing.T) (b *blockFile, content []byte) {
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
	if b, err = openBlockFile(f); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	return b, content
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
			rng, buf := rand.New(rand.NewPCG(uint64(i), 0)), new(blockBuffer)
			for range 50 {
				off := rng.Int64N(coldBlocks) * format.BlockLen
				if err := b.read(buf, off); err != nil || !bytes.Equal(buf[:], content[off:off+format.BlockLen]) {
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
	if err := b.read(new(blockBuffer), int64(len(content))-1); !errors.Is(err, ErrFault) {
		t.Errorf("a block across the end: %v, want ErrFault", err)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if b.usesRing() {
		t.Error("usesRing is true after close")
	}
	if err := b.read(new(blockBuffer), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read after close: %v, want os.ErrClosed", err)
	}
}

func TestBlockFile(t *testing.T) {
	t.Run("io_uring", func(t *testing.T) {
		ring, err := uring.New()
		if err != nil {
			t.Skip(err)
		}
		if err := ring.Close(); err != nil {
			t.Fatal(err)
		}
		b, content := openColdFile(t)
		b.readCached(new(blockBuffer), 0)
		if b.plain.Load() {
			t.Log("the file system for temporary files cannot read without waiting")
		}
		readAndClose(t, b, content, !b.plain.Load())
	})
	t.Run("no io_uring", func(t *testing.T) {
		b, content := openColdFile(t)
		if b.ring != nil {
			if err := b.ring.Close(); err != nil {
				t.Fatal(err)
			}
			b.ring = nil
		}
		readAndClose(t, b, content, false)
	})
	t.Run("ordinary reads only", func(t *testing.T) {
		b, content := openColdFile(t)
		b.plain.Store(true)
		readAndClose(t, b, content, false)
	})
}

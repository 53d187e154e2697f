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
)

const coldBlocks = 4096

// coldFile is a file of coldBlocks blocks that are not in memory.
func coldFile(t *testing.T) (b *blockFile, content []byte) {
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

// readAndClose wants every read to be of the file, by more goroutines than a
// ring has slots, and by way of a ring or not.
func readAndClose(t *testing.T, b *blockFile, content []byte, ring bool) {
	t.Helper()
	if b.usesRing() != ring {
		t.Errorf("a ring is used: %v, want %v", !ring, ring)
	}
	var wg sync.WaitGroup
	for i := range 2 * ringLen {
		wg.Go(func() {
			rng, buf := rand.New(rand.NewPCG(uint64(i), 0)), new(blockBuffer)
			for range 50 {
				off := rng.Int64N(coldBlocks) * format.BlockLen
				if err := b.read(buf, off); err != nil || !bytes.Equal(buf[:], content[off:off+format.BlockLen]) {
					t.Errorf("block at %d: other content, %v", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.usesRing() != ring || ring && b.ring.answers() == 0 {
		t.Errorf("a ring was used: %v, want %v", b.usesRing() && b.ring.answers() > 0, ring)
	}
	if err := b.read(new(blockBuffer), int64(len(content))-1); !errors.Is(err, ErrFault) {
		t.Errorf("block that is cut off: %v, want ErrFault", err)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if b.usesRing() {
		t.Error("a ring is used after close")
	}
	if err := b.read(new(blockBuffer), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestBlockFile(t *testing.T) {
	t.Run("ring", func(t *testing.T) {
		b, content := coldFile(t)
		ring := kernelHasRings(t)
		b.readNow(new(blockBuffer), 0)
		if b.mustWait.Load() {
			t.Log("the file system for temporary files cannot read without waiting")
			ring = false
		}
		readAndClose(t, b, content, ring)
	})
	t.Run("plain", func(t *testing.T) {
		b, content := coldFile(t)
		b.mustWait.Store(true)
		readAndClose(t, b, content, false)
	})
}

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

// Blocks that are in memory and blocks that are not, read by more goroutines
// than a ring has slots, are those of the file.
func TestBlockFile(t *testing.T) {
	const blocks = 4096
	path := filepath.Join(t.TempDir(), "file")
	content := make([]byte, blocks*format.BlockLen)
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
	for _, way := range []string{"ring", "plain"} {
		t.Run(way, func(t *testing.T) {
			b, err := openBlockFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b.mustWait.Store(way == "plain")
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 2 * ringLen {
				wg.Go(func() {
					rng, buf := rand.New(rand.NewPCG(uint64(i), 0)), new(blockBuffer)
					for range 50 {
						off := rng.Int64N(blocks) * format.BlockLen
						if err := b.read(buf, off); err != nil || !bytes.Equal(buf[:], content[off:off+format.BlockLen]) {
							t.Errorf("block at %d: other content, %v", off, err)
							return
						}
					}
				})
			}
			wg.Wait()
			if err := b.read(new(blockBuffer), int64(len(content))-1); !errors.Is(err, ErrFault) {
				t.Errorf("block that is cut off: %v, want ErrFault", err)
			}
			if err := b.close(); err != nil {
				t.Error(err)
			}
			if err := b.read(new(blockBuffer), 0); !errors.Is(err, os.ErrClosed) {
				t.Errorf("after close: %v", err)
			}
		})
	}
}

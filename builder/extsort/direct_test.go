package extsort

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The file system refuses direct I/O with an odd memory, length and offset.
func TestDirectFileFallsBackToPageCache(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/dev/shm"} {
		f, err := os.CreateTemp(dir, "direct")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		d := newDirectFile(f)
		defer d.Close()
		want := bytes.Repeat([]byte("promotions"), 1000)
		if n, err := d.WriteAt(want, 7); n != len(want) || err != nil {
			t.Errorf("%s: WriteAt = %d, %v", dir, n, err)
		}
		_ = d.setDirect(unix.O_DIRECT) // fails on a file system without direct I/O, which refuses nothing
		got := make([]byte, len(want))
		if n, err := d.ReadAt(got, 7); n != len(got) || err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: ReadAt = %d, %v, or wrong data", dir, n, err)
		}
	}
}

func TestDirectWriterWritesAnyLength(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	a, err := newArena(Sizes{Page: 3, Leaf: 1, Direct: 2 * minDirect}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	w, err := NewDirectWriter(file, newWriteBuffers(a.direct))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	want := make([]byte, 7*minDirect+5)
	for i := range want {
		want[i] = byte(i * 31)
	}
	lo := 0
	for _, n := range []int{minDirect, 5 * minDirect, 100, len(want)} { // one buffer, several, a short end
		hi := min(lo+n, len(want))
		if _, err := w.WriteAt(want[lo:hi], int64(lo)); err != nil {
			t.Fatal(err)
		}
		lo = hi
	}
	got := make([]byte, len(want))
	if n, err := w.ReadAt(got, 0); n != len(got) || err != nil || !bytes.Equal(got, want) {
		t.Errorf("ReadAt = %d, %v, or wrong data", n, err)
	}
}

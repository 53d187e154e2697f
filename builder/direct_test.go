package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/internal/synth"
)

// What a file system refuses to do directly is done through the page cache:
// here because memory, length and offset are odd.
func TestDirectRefused(t *testing.T) {
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
		_ = d.setDirect(unix.O_DIRECT) // where there is no direct I/O nothing is to be refused
		got := make([]byte, len(want))
		if n, err := d.ReadAt(got, 7); n != len(got) || err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: ReadAt = %d, %v, or other bytes", dir, n, err)
		}
	}
}

// While the spill shrinks and the file grows, they are at most 1.2 times the
// file together, at each moment: not only when the build is observed, since in
// between there is never more than the spill of the last time and the file of
// the next.
func TestDiskBound(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in.csv")
	in, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.Table{Rows: 3_000_000}).WriteTo(in); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	var most int64 // of the sum
	var spills []int64
	b := &build{}
	b.Options = Options{
		Inputs: []Input{FileInput(path)}, Dir: dir, Memory: MinMemory, Workers: 2, Generation: testGeneration,
		Observe: func(st Status) {
			if b.spill == nil || st.Phase == PhaseRead {
				return // there is the spill alone, which grows
			}
			spill := b.spill.size // until what waits to be written is
			if st.Records > 0 {
				spill = allocated(t, fmt.Sprintf("/proc/self/fd/%d", b.spill.file.Fd()))
			}
			file := int64(0)
			out, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
			if err != nil || len(out) != 1 {
				t.Errorf("files %q, error %v", out, err)
				return
			}
			file = allocated(t, out[0])
			if n := len(spills); n > 0 {
				most = max(most, spills[n-1]+file)
			}
			spills = append(spills, spill)
		},
	}
	sum, err := b.build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range spills[1:] {
		if spills[i]+maxMetadata < spills[i+1] {
			t.Errorf("the spill grew from %d to %d bytes", spills[i], spills[i+1])
		}
	}
	most = max(most, spills[len(spills)-1]+allocated(t, sum.File))
	t.Logf("spilled %d bytes, file of %d, at most %.3f times that on the disk, %d looks", sum.SpilledBytes, sum.FileBytes, float64(most)/float64(sum.FileBytes), len(spills))
	if most < sum.FileBytes || most > sum.FileBytes*12/10 {
		t.Errorf("%d bytes on the disk for a file of %d", most, sum.FileBytes)
	}
}

// maxMetadata is more than what a file system counts for the extents of a file
// with a few holes: a block of 4 KiB for some 340 of them on ext4.
const maxMetadata = 64 << 10

// allocated is how many bytes of the disk a file has, its metadata included.
func allocated(t *testing.T, path string) int64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Error(err)
	}
	return st.Blocks * 512
}

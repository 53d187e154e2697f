package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/synth"
)

// While the spill shrinks and the files grow, they take at most 1.2 times the files
// together. This is true at every moment, not only when the build is observed:
// between two observations there is never more than the spill of the first and the
// files of the second.
func TestDiskSpaceOfMerge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in.csv")
	in, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Rows: 3_000_000}).WriteTo(in); err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sharding := range []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 64}} {
		t.Run(fmt.Sprint(sharding.Shards), func(t *testing.T) { checkDiskSpace(t, path, sharding) })
	}
}

func checkDiskSpace(t *testing.T, path string, sharding format.Sharding) {
	dir := t.TempDir()
	var most int64 // of the sum
	var spills []int64
	sum, err := buildWith(t.Context(), sizes{}, Options{
		Inputs: []Input{FileInput(path)}, Dir: dir, Workers: 2, Generation: testGeneration, Sharding: sharding,
		Observe: func(st Status) {
			if st.Phase == PhaseRead {
				return // the spill is alone and grows
			}
			spill := allocated(t, openSpillPath(t))
			out, err := filepath.Glob(filepath.Join(dir, ".*.tmp"))
			if err != nil || len(out) != int(sharding.Shards) {
				t.Errorf("files %q, error %v", out, err)
				return
			}
			files := allocated(t, out...)
			if n := len(spills); n > 0 {
				most = max(most, spills[n-1]+files)
			}
			spills = append(spills, spill)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range spills[1:] {
		if spills[i]+maxMetadata < spills[i+1] {
			t.Errorf("the spill grew from %d to %d bytes", spills[i], spills[i+1])
		}
	}
	most = max(most, spills[len(spills)-1]+allocated(t, sum.Files...))
	t.Logf("%d bytes spilled, files of %d bytes, at most %.3f times that on the disk, %d observations", sum.SpilledBytes, sum.FileBytes, float64(most)/float64(sum.FileBytes), len(spills))
	if most < sum.FileBytes || most > sum.FileBytes*12/10 {
		t.Errorf("%d bytes on the disk for files of %d", most, sum.FileBytes)
	}
}

// openSpillPath returns a path of the open spill of this process, which has no
// name.
func openSpillPath(t *testing.T) string {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		path := filepath.Join("/proc/self/fd", e.Name())
		if target, err := os.Readlink(path); err == nil && strings.Contains(target, ".spill (deleted)") {
			return path
		}
	}
	t.Error("no open spill")
	return ""
}

// maxMetadata is larger than the metadata that a file system counts for a file
// with a few holes: ext4 uses a block of 4 KiB for about 340 extents.
const maxMetadata = 64 << 10

// allocated returns the number of bytes that files take on the disk, metadata
// included.
func allocated(t *testing.T, paths ...string) (n int64) {
	for _, path := range paths {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Error(err)
		}
		n += st.Blocks * 512
	}
	return n
}

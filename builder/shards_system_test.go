//go:build system

package builder

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/fsx"
	"promostore/internal/synth"
)

// smallDisk mounts a file system of the given size and returns its directory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// If the disk becomes full, the build fails and leaves nothing, whichever shard it
// writes.
func TestFullDiskOnAnyShard(t *testing.T) {
	const numRows = 400_000
	data := csvOf(t, synth.DataSet{Rows: numRows})
	spilled := tiny
	spilled.sort.Arena *= 16
	for _, shard := range []int64{0, 1, 9, 15, 16} { // all are written before 16, but not completed
		for name, s := range map[string]sizes{"memory": inMemory, "spilled": spilled} {
			dir := smallDisk(t, "64m")
			filled := false
			_, err := buildWith(t.Context(), s, Options{
				Inputs: []Input{stream("rows", data)}, Dir: dir, TempDir: t.TempDir(), Workers: 1,
				Sharding: format.Sharding{Rule: format.ShardLast, Shards: 16},
				Observe: func(st Status) {
					if st.Phase == PhaseRead || filled || st.Records < numRows*shard/16 {
						return
					}
					filled = true
					fill(t, dir)
				},
			})
			if !errors.Is(err, syscall.ENOSPC) || !filled {
				t.Errorf("%s, shard %d: error %v, disk filled: %t", name, shard, err, filled)
			}
			wantFiles(t, dir, ".lock", "filler")
		}
	}
}

// A disk without room for the headers of all shards fails the build before it reads.
func TestDiskTooSmallForShards(t *testing.T) {
	dir := smallDisk(t, "24m")
	in := textInput(rows(0, 9))
	in[0].Open = func() (io.ReadCloser, error) {
		t.Error("the input is opened")
		return nil, errors.ErrUnsupported
	}
	_, err := buildWith(t.Context(), inMemory, Options{Inputs: in, Dir: dir, Sharding: mostShards[0]})
	if space := (*SpaceError)(nil); !errors.As(err, &space) || space.Need < 24<<20 {
		t.Errorf("error %v, want a *SpaceError", err)
	}
	wantFiles(t, dir, ".lock")
	if _, err := buildWith(t.Context(), inMemory, Options{Inputs: textInput(rows(0, 9)), Dir: dir, Sharding: shardings[3]}); err != nil {
		t.Error(err)
	}
}

// fill allocates all free space of a disk to a file.
func fill(t *testing.T, dir string) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for { // other goroutines allocate too
		free, err := fsx.Free(dir)
		if err == nil && free > 0 {
			err = unix.Fallocate(int(f.Fd()), 0, 0, free)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

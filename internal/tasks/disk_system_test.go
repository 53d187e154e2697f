//go:build system

package tasks

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// newTmpfs mounts a file system of this size and returns its directory.
func newTmpfs(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A merge that does not fit on a disk leaves nothing, and succeeds after the disk has
// room.
func TestMergeOnFullDisk(t *testing.T) {
	t.Run("temporary directory", func(t *testing.T) {
		s := newS3Site(t)
		p, _ := s.planned(t)
		splitAll(t, p)
		testFullDisk(t, s, p, newTmpfs(t, "64k"))
	})
	t.Run("Out", func(t *testing.T) {
		s := newDirSite(t)
		p, _ := s.planned(t)
		splitAll(t, p)
		dir := newTmpfs(t, "64k")
		must(t, os.Symlink(dir, filepath.Join(s.url, "out")))
		testFullDisk(t, s, p, dir)
	})
}

// testFullDisk merges a shard while dir has various amounts of free space.
func testFullDisk(t *testing.T, s site, p *Plan, dir string) {
	ballast := filepath.Join(dir, "ballast")
	o := taskOptions(t)
	if !p.dir.isLocal() {
		o.TempDir = dir
	}
	failed := 0
	for kept := 60 << 10; ; kept -= 4 << 10 {
		if kept < 0 {
			t.Fatal("the merge does not fit on an empty disk")
		}
		must(t, os.WriteFile(ballast, make([]byte, kept), 0o600))
		_, err := p.Merge(t.Context(), 3, o, nil)
		if err == nil {
			break
		}
		failed++
		if !isA(err, syscall.ENOSPC) || IsPermanent(err) {
			t.Fatalf("with %d bytes in use: %v, permanent: %v", kept, err, IsPermanent(err))
		}
		must(t, os.Remove(ballast))
		if left := filesIn(t, dir); len(left) > 0 {
			t.Errorf("with %d bytes in use, the merge left %v", kept, left)
		}
	}
	if failed < 2 {
		t.Errorf("%d merges failed", failed)
	}
}

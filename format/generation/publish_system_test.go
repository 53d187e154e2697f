//go:build system

package generation_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"promostore/format/generation"
	"promostore/internal/gentest"
)

// TestPublishSetOnFullDisk publishes 16 files on file systems with room for fewer
// and fewer files and bytes. A step that fails leaves nothing.
func TestPublishSetOnFullDisk(t *testing.T) {
	steps := map[string]int{}
	try := func(options string) {
		t.Helper()
		dir := t.TempDir()
		gentest.Must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, options))
		defer func() { gentest.Must(t, syscall.Unmount(dir, 0)) }()
		touch(t, dir, generation.Name{ID: 1, Shards: 1}.String())
		w, err := generation.OpenWriter(dir)
		gentest.Must(t, err)
		defer w.Close()
		left := []string{generation.Name{ID: 1, Shards: 1}.String()}
		step, err := publishSixteen(w)
		if err == nil {
			left = append(left, shardNames(2)...)
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %s: %v, want %v", options, step, err, syscall.ENOSPC)
		}
		steps[step]++
		wantNames(t, dir, left...)
	}
	// The directory, the lock file and the other generation take 3 of the inodes.
	for inodes := 4; inodes < 22; inodes++ {
		try(fmt.Sprintf("nr_inodes=%d", inodes))
	}
	page := os.Getpagesize()
	for pages := 2; pages < 20; pages++ { // one is for the lock file
		try(fmt.Sprintf("size=%d", pages*page))
	}
	for _, step := range []string{"create", "write", "publish", ""} {
		if steps[step] == 0 {
			t.Errorf("steps that failed: %v, want all", steps)
		}
	}
}

// publishSixteen publishes generation 2 of 16 files and returns the step that
// failed.
func publishSixteen(w *generation.Writer) (step string, err error) {
	p, err := w.Create(2, sixteen)
	if err != nil {
		return "create", err
	}
	for shard := range 16 {
		if _, err := p.File(shard).Write([]byte(filepath.Base(p.File(shard).Name()))); err != nil {
			return "write", errors.Join(err, p.Discard())
		}
	}
	if err := p.Publish(); err != nil {
		return "publish", err
	}
	return "", nil
}

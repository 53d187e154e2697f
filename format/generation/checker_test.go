package generation_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
)

// overwrite replaces bytes of a file and restores its modification time, like
// a repair in place by rsync -t.
func overwrite(t *testing.T, path string, off int64, b string) {
	t.Helper()
	info, err := os.Stat(path)
	gentest.Must(t, err)
	// Change times have the resolution of a tick of the kernel, 10 ms at most.
	time.Sleep(20 * time.Millisecond)
	gentest.Overwrite(t, path, off, []byte(b))
	gentest.Must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
}

func TestCheckerLive(t *testing.T) {
	dir := t.TempDir()
	publish := func(id generation.ID) string {
		return gentest.Publish(t, dir, id, gentest.Sequence(int(id)))
	}
	var c generation.Checker
	want := func(id generation.ID, when string) {
		t.Helper()
		if g, h, err := c.Live(dir); err != nil || g.ID != id || h.Records != uint64(id) {
			t.Errorf("%s: generation %s of %d records, %v, want %s", when, g.ID, h.Records, err, id)
		}
	}
	if _, _, err := c.Live(filepath.Join(dir, "none")); !errors.Is(err, generation.ErrNoneServable) {
		t.Errorf("missing directory: %v, want %v", err, generation.ErrNoneServable)
	}
	publish(1)
	path := publish(2)
	want(2, "first read")

	// An unchanged file is not read again.
	h, _, _ := c.Remembered(path)
	h.Records = 77
	c.SetRemembered(path, h)
	if _, h, err := c.Live(dir); err != nil || h.Records != 77 {
		t.Errorf("unchanged file: %d records, %v, want the remembered 77", h.Records, err)
	}

	overwrite(t, path, 0, "X")
	want(1, "damaged in place")
	overwrite(t, path, 0, "P")
	want(2, "repaired in place")
	path = publish(3)
	want(3, "newer generation")
	gentest.Must(t, os.Remove(path))
	want(2, "newer generation removed")
	publish(4)
	want(4, "another newer generation")
	if _, _, found := c.Remembered(path); found {
		t.Error("the result of a removed file is remembered")
	}
}

func TestCheckerVerify(t *testing.T) {
	dir := t.TempDir()
	var c generation.Checker
	path := gentest.Publish(t, dir, 1, gentest.Sequence(300))
	g := generation.Generation{ID: 1, Shards: 1, Files: []string{path}}
	verify := func(when string, want error) {
		t.Helper()
		if err := c.Verify(t.Context(), g); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", when, err, want)
		}
	}
	verify("good file", nil)
	if _, verified, _ := c.Remembered(path); !verified {
		t.Error("the result of Verify is not remembered")
	}
	overwrite(t, path, format.BlockOff(1), "damage")
	if h, err := c.Header(g); err != nil || h.Records != 300 {
		t.Errorf("Header of a file with a damaged block: %d records, %v", h.Records, err)
	}
	verify("damaged block", format.ErrChecksum)
	c.Trust(path)
	verify("trusted file", nil)
	overwrite(t, path, 0, "X")
	c.Trust(path)
	verify("trusted file with a damaged header", format.ErrFormat)

	g.Shards = 2
	verify("one shard of two", generation.ErrIncomplete)
	g.Shards, g.Files = 1, []string{path + "x"}
	verify("missing file", fs.ErrNotExist)
	c.Trust(path + "x")
	if _, _, found := c.Remembered(path + "x"); found {
		t.Error("a missing file is remembered")
	}
}

// TestCheckerSharesStyles checks that the results for the files of a generation
// share one dictionary.
func TestCheckerSharesStyles(t *testing.T) {
	dir := t.TempDir()
	paths := gentest.PublishSharded(t, dir, 1, sixteen, gentest.Scattered(100))
	var c generation.Checker
	gentest.Must(t, c.Servable(only(t, dir)))
	for _, path := range paths {
		if styles := c.RememberedStyles(path); len(styles) != 1 || &styles[0] != &c.RememberedStyles(paths[0])[0] {
			t.Errorf("%s: the dictionary %v is a copy", path, styles)
		}
	}
}

// TestCheckerReadsChangedFile changes one file of a set: a Checker reads only that
// file again.
func TestCheckerReadsChangedFile(t *testing.T) {
	dir := t.TempDir()
	var c generation.Checker
	paths := gentest.PublishSharded(t, dir, 1, sixteen, gentest.Sequence(16*200))
	g := only(t, dir)
	verified := func(when string, want int) {
		t.Helper()
		n := 0
		for _, path := range paths {
			if _, verified, _ := c.Remembered(path); verified {
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d files are known to be good, want %d", when, n, want)
		}
	}
	c.Trust(paths[:15]...)
	verified("Trust", 15)
	gentest.Must(t, c.Verify(t.Context(), g))
	verified("Verify", 16)

	for _, path := range paths {
		h, _, _ := c.Remembered(path)
		h.Duplicates = 1 // remembered, not in the file
		c.SetRemembered(path, h)
	}
	overwrite(t, paths[5], format.BlockOff(1), "damage")
	if h, err := c.Header(g); err != nil || h.Duplicates != 15 {
		t.Errorf("%d files are not read again, %v, want 15", h.Duplicates, err)
	}
	verified("damaged block", 15)
	if err := c.Verify(t.Context(), g); !errors.Is(err, format.ErrChecksum) || g.FileOf(err) != paths[5] {
		t.Errorf("damaged block: %v, want %v of shard 5", err, format.ErrChecksum)
	}
	overwrite(t, paths[5], 0, "X")
	if err := c.Servable(g); !errors.Is(err, format.ErrFormat) || g.FileOf(err) != paths[5] {
		t.Errorf("damaged header: %v, want %v of shard 5", err, format.ErrFormat)
	}
	gentest.PublishSharded(t, dir, 1, sixteen, gentest.Sequence(16*200)) // other files, so all are read again
	gentest.Must(t, c.Verify(t.Context(), g))
	verified("replaced", 16)
	gentest.Must(t, os.Remove(paths[3]))
	if err := c.Servable(g); !errors.Is(err, fs.ErrNotExist) || g.FileOf(err) != paths[3] {
		t.Errorf("removed after List: %v, want %v of shard 3", err, fs.ErrNotExist)
	}
}

// TestCheckerChecksBadFileAgain checks a file in the middle of a write that sets
// its times only when it begins.
func TestCheckerChecksBadFileAgain(t *testing.T) {
	dir := t.TempDir()
	path := gentest.Publish(t, dir, 1, gentest.Sequence(300))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	gentest.Must(t, err)
	gentest.Must(t, f.Sync())
	// Only the first store to a page of a mapping changes the times.
	m, err := syscall.Mmap(int(f.Fd()), 0, format.HeaderLen, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	gentest.Must(t, err)
	gentest.Must(t, f.Close())
	t.Cleanup(func() { gentest.Must(t, syscall.Munmap(m)) })
	good := string(m)
	clear(m)

	var c generation.Checker
	now := time.Now()
	c.SetClock(func() time.Time { return now })
	if _, _, err := c.Live(dir); !errors.Is(err, format.ErrFormat) {
		t.Errorf("during the write: %v, want %v", err, format.ErrFormat)
	}
	copy(m, good)
	now = now.Add(time.Second)
	if _, h, err := c.Live(dir); err != nil || h.Records != 300 {
		t.Errorf("after the write: %d records, %v", h.Records, err)
	}
}

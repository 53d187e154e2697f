package fsx_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"promostore/internal/fsx"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	must(t, os.WriteFile(file, []byte("text"), 0o644))
	must(t, syscall.Mkfifo(pipe, 0o644))
	f, err := fsx.OpenRegular(file)
	must(t, err)
	f.Close()
	for _, c := range []struct {
		path string
		want error
	}{
		{pipe, fsx.ErrNotRegular},
		{dir, fsx.ErrNotRegular},
		{os.DevNull, fsx.ErrNotRegular},
		{filepath.Join(dir, "none"), fs.ErrNotExist},
	} {
		if _, err := fsx.OpenRegular(c.path); !errors.Is(err, c.want) {
			t.Errorf("OpenRegular(%s): %v, want %v", c.path, err, c.want)
		}
	}
}

func TestSyncDir(t *testing.T) {
	dir := t.TempDir()
	must(t, fsx.SyncDir(dir))
	if err := fsx.SyncDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestSpace(t *testing.T) {
	dir := t.TempDir()
	free, size, err := fsx.Space(dir)
	must(t, err)
	if free < 0 || size < free {
		t.Errorf("%d bytes free of %d", free, size)
	}
	_, err = fsx.Free(dir)
	must(t, err)
	if _, err := fsx.Free(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	modified := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	write := func(path, text string) {
		must(t, os.WriteFile(path, []byte(text), 0o644))
		must(t, os.Chtimes(path, modified, modified))
	}
	identity := func() fsx.Identity {
		info, err := os.Stat(path)
		must(t, err)
		return fsx.IdentityOf(info)
	}
	// Change times have the resolution of a tick of the kernel, 10 ms at most.
	tick := func() { time.Sleep(20 * time.Millisecond) }

	write(path, "aa")
	before := identity()
	if !before.Equal(identity()) {
		t.Error("an unchanged file has another identity")
	}
	if before.Equal(fsx.Identity{}) {
		t.Error("the zero Identity equals a file")
	}
	for _, c := range []struct {
		name        string
		change      func()
		sameContent bool
	}{
		{"chmod", func() { must(t, os.Chmod(path, 0o600)) }, true},
		{"hard link", func() { must(t, os.Link(path, path+".link")) }, true},
		{"repair with the old size and time", func() { write(path, "bb") }, true},
		{"replacement with the old size and time", func() {
			write(path+".new", "cc")
			must(t, os.Rename(path+".new", path))
		}, true},
		{"touch", func() { must(t, os.Chtimes(path, time.Time{}, modified.Add(time.Second))) }, false},
		{"append", func() { write(path, "ddd") }, false},
	} {
		write(path, "aa")
		before := identity()
		tick()
		c.change()
		after := identity()
		if before.Equal(after) || before.SameContent(after) != c.sameContent {
			t.Errorf("%s: Equal is %t, SameContent is %t, want false and %t", c.name, before.Equal(after), before.SameContent(after), c.sameContent)
		}
	}
}

package fsx_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"promostore/internal/fsx"
)

// A Dir follows no link, and stays at the directory that was opened.
func TestDirFollowsNoLink(t *testing.T) {
	path, secret := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(secret, "tokens"), []byte("secret"), 0o600))
	d, err := fsx.OpenDir(path)
	must(t, err)
	defer d.Close()
	sub, err := d.Sub("sub")
	must(t, err)
	defer sub.Close()

	must(t, os.Symlink(secret, filepath.Join(path, "link")))
	if _, err := d.Sub("link"); !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ELOOP) {
		t.Errorf("Sub of a link: %v", err)
	}
	must(t, os.Symlink(filepath.Join(secret, "tokens"), filepath.Join(path, "sub", "tokens")))
	if _, err := sub.OpenRegular("tokens"); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("OpenRegular of a link: %v", err)
	}
	if _, err := sub.OpenOrCreate("tokens", 0o600); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("OpenOrCreate of a link: %v", err)
	}
	if _, err := sub.Create("tokens", 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a link: %v", err)
	}
	must(t, sub.Remove("tokens"))

	must(t, os.Rename(filepath.Join(path, "sub"), filepath.Join(path, "old")))
	must(t, os.Symlink(secret, filepath.Join(path, "sub")))
	if f, err := sub.OpenRegular("tokens"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenRegular in a replaced directory: %v, %v", f, err)
	}
	f, err := sub.Create("report", 0o600)
	must(t, err)
	must(t, f.Close())
	if _, err := os.Stat(filepath.Join(path, "old", "report")); err != nil {
		t.Error(err)
	}
	if _, err := sub.OpenRegular("../link"); err == nil {
		t.Error("a path is opened")
	}
}

func TestDirRenameReplacesNothing(t *testing.T) {
	path := t.TempDir()
	for _, name := range []string{"a", "b"} {
		must(t, os.WriteFile(filepath.Join(path, name), []byte(name), 0o600))
	}
	must(t, syscall.Mkfifo(filepath.Join(path, "pipe"), 0o600))
	d, err := fsx.OpenDir(path)
	must(t, err)
	defer d.Close()
	sub, err := d.Sub("sub")
	must(t, err)
	defer sub.Close()
	must(t, d.Rename("a", sub, "x"))
	if err := d.Rename("b", sub, "x"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Rename to a used name: %v", err)
	}
	for dir, want := range map[*fsx.Dir][]string{d: {"b"}, sub: {"x"}} {
		list, err := dir.Files()
		must(t, err)
		var names []string
		for _, info := range list {
			names = append(names, info.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %q, want %q", dir.Name(), names, want)
		}
	}
}

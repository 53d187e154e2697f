package fsx_test

import (
	"os"
	"path/filepath"
	"testing"

	"promostore/internal/fsx"
)

func TestWatchKnowsOpenFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	create := func(name string) *os.File {
		f, err := os.Create(at(name))
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	early := create("early")
	d, err := fsx.OpenDir(dir)
	must(t, err)
	defer d.Close()
	w, err := d.Watch()
	must(t, err)
	defer w.Close()
	want := func(open bool, names ...string) {
		t.Helper()
		must(t, w.Update())
		for _, name := range names {
			if w.IsOpen(name) != open {
				t.Errorf("%s: open is %t, want %t", name, !open, open)
			}
		}
	}

	a, b, c := create("a"), create("b"), create("c")
	must(t, os.Rename(at("b"), at("moved")))
	must(t, os.WriteFile(at("closed"), nil, 0o600))
	must(t, os.Link(at("early"), at("link")))
	want(true, "a", "moved", "c")
	want(false, "b", "closed", "link", "early", "none")

	// A reader closes nothing, and opens nothing.
	for _, name := range []string{"a", "link"} {
		_, err := os.ReadFile(at(name))
		must(t, err)
	}
	want(true, "a")
	want(false, "link")

	must(t, os.Remove(at("c")))
	must(t, os.Rename(at("closed"), at("moved"))) // replaces it
	must(t, a.Close())
	must(t, b.Close())
	must(t, c.Close())
	must(t, early.Close())
	want(false, "a", "b", "c", "moved", "early")
}

//go:build system

package generation_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"promostore/format/generation"
	"promostore/internal/gentest"
)

// hold makes the file of this name one that cannot be removed or replaced, until
// the test ends.
func hold(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	touch(t, dir, name)
	gentest.Must(t, syscall.Mount(path, path, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { gentest.Must(t, syscall.Unmount(path, 0)) })
}

// Summaries that cannot be removed or replaced prevent neither a build nor a prune.
func TestWriterWithSummariesItCannotRemove(t *testing.T) {
	dir := t.TempDir()
	const gone, old = generation.ID(1), generation.ID(2)
	written := generation.IDOf(now)
	held := []string{
		generation.SummaryName(gone), "." + generation.SummaryName(gone) + ".tmp",
		generation.SummaryName(old), generation.SummaryName(written),
	}
	for _, name := range held {
		hold(t, dir, name)
	}
	touch(t, dir, generation.Name{ID: old, Shards: 1}.String())
	if id := publishWith(t, dir, aSummary()); id != written {
		t.Fatalf("generation %s, want %s", id, written)
	}
	w := openWriter(t, dir)
	defer w.Close()
	p, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 1, Check: func(generation.Generation) error { return nil }})
	if err != nil || len(p.Removed) != 1 || p.Removed[0].ID != old {
		t.Errorf("%+v, %v", p, err)
	}
	wantNames(t, dir, append(held, generation.Name{ID: written, Shards: 1}.String())...)
}

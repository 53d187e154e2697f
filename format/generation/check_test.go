package generation_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// writeGeneration makes a file with n records that says that it is generation
// id, under the name of another perhaps.
func writeGeneration(t *testing.T, path string, id generation.ID, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records := make([]format.Record, n)
	for i := range records {
		records[i] = format.MakeRecord(format.Key{Lo: uint64(i)}, false, format.Price{Digits: 1}, 0, 0)
	}
	w := format.NewWriter(f, uint64(n))
	b, err := w.Reserve(records)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Write(); err != nil {
		t.Fatal(err)
	}
	h, err := w.Finish(format.Header{Shards: 1, Generation: int64(id)}, []format.TimestampStyle{{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(h.FileLen); err != nil {
		t.Fatal(err)
	}
}

func pathOf(dir string, id generation.ID) string {
	return filepath.Join(dir, generation.Name{ID: id, Shards: 1}.String())
}

func TestHeader(t *testing.T) {
	dir := t.TempDir()
	writeGeneration(t, pathOf(dir, 1), 1, 300)
	writeGeneration(t, pathOf(dir, 2), 1, 10)
	touch(t, dir, generation.Name{ID: 3, Shards: 1}.String())
	touch(t, dir, generation.Name{ID: 4, Shards: 2}.String())
	touch(t, dir, generation.Name{ID: 5, Shards: 2}.String(), generation.Name{ID: 5, Shard: 1, Shards: 2}.String())
	if err := os.Symlink("nowhere", pathOf(dir, 6)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", pathOf(dir, 7)); err != nil {
		t.Fatal(err)
	}
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{nil, generation.ErrMisnamed, format.ErrFormat, generation.ErrSharded, generation.ErrSharded, fs.ErrNotExist, fsx.ErrNotRegular} {
		h, err := list[i].Header()
		if !errors.Is(err, want) || err == nil && h.Records != 300 {
			t.Errorf("generation %d: %d records, %v, want %v", i+1, h.Records, err, want)
		}
	}
}

func TestServed(t *testing.T) {
	dir := t.TempDir()
	want := func(id generation.ID, what string) {
		t.Helper()
		g, h, err := generation.Served(dir)
		if id == 0 {
			if !errors.Is(err, generation.ErrAbsent) {
				t.Errorf("%s: %s, %v, want %v", what, g.ID, err, generation.ErrAbsent)
			}
			return
		}
		if err != nil || g.ID != id || h.Records != uint64(id) {
			t.Errorf("%s: %s of %d records, %v, want %s", what, g.ID, h.Records, err, id)
		}
	}
	pin := func(text string) {
		t.Helper()
		if err := os.WriteFile(pinPath(dir), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want(0, "an empty directory")
	for id := generation.ID(1); id <= 3; id++ {
		writeGeneration(t, pathOf(dir, id), id, int(id))
	}
	want(3, "the newest")
	touch(t, dir, generation.Name{ID: 4, Shards: 1}.String())
	want(3, "the newest is bad")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(1)))
	want(1, "one is pinned")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(4)))
	want(3, "a bad one is pinned")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(9)))
	want(3, "one is pinned that is not there")
	pin("{")
	want(3, "the pin cannot be read")
	pin(`{"generation":""}`)
	want(3, "unpinned")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	want(0, "no directory")
}

// What does not look like another file is not read again.
func TestHeaders(t *testing.T) {
	dir := t.TempDir()
	writeGeneration(t, pathOf(dir, 1), 1, 1)
	writeGeneration(t, pathOf(dir, 2), 2, 2)
	info, err := os.Stat(pathOf(dir, 2))
	if err != nil {
		t.Fatal(err)
	}
	var headers generation.Headers
	want := func(id generation.ID, what string) {
		t.Helper()
		if g, h, err := headers.Served(dir); err != nil || g.ID != id || h.Records != uint64(id) {
			t.Errorf("%s: %s of %d records, %v, want %s", what, g.ID, h.Records, err, id)
		}
	}
	at := func(mtime time.Time) {
		t.Helper()
		if err := os.Chtimes(pathOf(dir, 2), mtime, mtime); err != nil {
			t.Fatal(err)
		}
	}
	want(2, "the newest")
	if err := os.WriteFile(pathOf(dir, 2), make([]byte, info.Size()), 0o644); err != nil {
		t.Fatal(err)
	}
	at(info.ModTime())
	want(2, "it looks as before")
	at(info.ModTime().Add(time.Second))
	want(1, "it looks like another")
	writeGeneration(t, pathOf(dir, 3), 3, 3)
	want(3, "a newer one")
	if err := os.Remove(pathOf(dir, 3)); err != nil {
		t.Fatal(err)
	}
	want(1, "it is gone")
	writeGeneration(t, pathOf(dir, 2), 2, 2)
	want(2, "the bad one is replaced")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, generation.Name{ID: 1, Shards: 1}.String())
	touch(t, dir, generation.Name{ID: 1, Shards: 2}.String()) // besides the whole one
	touch(t, dir, generation.Name{ID: 2, Shards: 2}.String())
	for _, c := range []struct {
		id   generation.ID
		want error
	}{{1, nil}, {2, generation.ErrSharded}, {3, generation.ErrAbsent}} {
		g, err := generation.Find(dir, c.id)
		if !errors.Is(err, c.want) || err == nil && (g.ID != c.id || g.Shards != 1) {
			t.Errorf("%s: %+v, %v, want %v", c.id, g, err, c.want)
		}
	}
}

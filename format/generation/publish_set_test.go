package generation_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"promostore/format/generation"
	"promostore/internal/gentest"
)

// TestPublishSet publishes the files of 16 shards at once.
func TestPublishSet(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	p, err := w.Create(1, sixteen)
	gentest.Must(t, err)
	var temps []string
	for shard := range 16 {
		temps = append(temps, filepath.Base(p.File(shard).Name()))
		fmt.Fprint(p.File(shard), shard)
	}
	wantNames(t, dir, temps...)
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("List before Publish: %v, %v", list, err)
	}
	id, err := p.Renew(now)
	if err != nil || id != generation.IDOf(now) {
		t.Errorf("Renew: %s, %v", id, err)
	}
	gentest.Must(t, p.Publish())
	wantNames(t, dir, shardNames(id)...)
	if g := only(t, dir); g.ID != id || !g.Complete() || !slices.Equal(g.Files, p.Paths()) {
		t.Errorf("List: %+v, want the files %q", g, p.Paths())
	}
	for shard, path := range p.Paths() {
		if got, err := os.ReadFile(path); err != nil || string(got) != strconv.Itoa(shard) {
			t.Errorf("content of shard %d: %q, %v", shard, got, err)
		}
	}
	gentest.Must(t, p.Discard())
	wantNames(t, dir, shardNames(id)...)

	p, err = w.Create(id+1, sixteen)
	gentest.Must(t, err)
	gentest.Must(t, p.Discard())
	wantNames(t, dir, shardNames(id)...)
}

// TestPublishSetErrors makes the steps of Publish fail for one file of a set.
// Nothing remains.
func TestPublishSetErrors(t *testing.T) {
	for _, shard := range []int{0, 9, 15} {
		dir := t.TempDir()
		w := openWriter(t, dir)
		create := func() *generation.Pending {
			p, err := w.Create(generation.IDOf(now), sixteen)
			gentest.Must(t, err)
			return p
		}
		p := create()
		gentest.Must(t, p.File(shard).Close())
		if err := p.Publish(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("shard %d: closed file: %v, want %v", shard, err, os.ErrClosed)
		}
		wantNames(t, dir)

		p = create()
		gentest.Must(t, os.Remove(p.File(shard).Name()))
		if err := p.Publish(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("shard %d: missing file: %v, want %v", shard, err, fs.ErrNotExist)
		}
		wantNames(t, dir)

		p = create()
		gentest.Must(t, os.Mkdir(p.Paths()[shard], 0o755))
		if err := p.Publish(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("shard %d: existing directory: %v, want %v", shard, err, fs.ErrExist)
		}
		wantNames(t, dir, filepath.Base(p.Paths()[shard]))
		gentest.Must(t, os.Remove(p.Paths()[shard]))

		// The temporary file of another process is in the way.
		obstacle := "." + filepath.Base(p.Paths()[shard]) + ".tmp"
		touch(t, dir, obstacle)
		if _, err := w.Create(generation.IDOf(now), sixteen); !errors.Is(err, fs.ErrExist) {
			t.Errorf("shard %d: existing temporary file: %v, want %v", shard, err, fs.ErrExist)
		}
		wantNames(t, dir, obstacle)
	}
}

// TestWithdrawKeepsMarker cannot remove one of the published files. The marker
// remains, because the rest may be all that a server of few digits needs.
func TestWithdrawKeepsMarker(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	p, err := w.Create(generation.IDOf(now), sixteen)
	gentest.Must(t, err)
	published := p.Paths()[:9]
	stuck := published[3]
	gentest.Must(t, os.MkdirAll(filepath.Join(stuck, "file"), 0o755))
	marker := "." + filepath.Base(published[0]) + ".publishing"
	p.Withdraw(published)
	wantNames(t, dir, marker, filepath.Base(stuck))

	gentest.Must(t, errors.Join(w.Close(), os.RemoveAll(stuck)))
	openWriter(t, dir)
	wantNames(t, dir)
}

// TestSweepKeepsOtherSets sweeps a set whose publication was interrupted. It keeps
// those without a marker, complete or not.
func TestSweepKeepsOtherSets(t *testing.T) {
	dir := t.TempDir()
	keep := append(shardNames(1), shardNames(2)[:3]...)
	touch(t, dir, keep...)
	touch(t, dir, "."+shardNames(3)[0]+".publishing")
	touch(t, dir, shardNames(3)[:15]...)
	foreign := []string{"." + shardNames(4)[1] + ".publishing", "." + shardNames(2)[0] + ".publishing.x"} // no markers
	touch(t, dir, foreign...)
	keep = append(keep, foreign...)
	openWriter(t, dir)
	slices.Sort(keep)
	wantNames(t, dir, keep...)
}

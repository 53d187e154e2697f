package generation_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"promostore/format/generation"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

// touch creates empty files in dir.
func touch(tb rapid.TB, dir string, names ...string) {
	tb.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

func TestList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Few IDs and shards, so that several files belong together.
		names := rapid.SliceOfDistinct(rapid.Custom(func(t *rapid.T) generation.Name {
			shards := rapid.IntRange(1, 3).Draw(t, "shards")
			return generation.Name{
				ID:     generation.ID(rapid.Int64Range(0, 3).Draw(t, "id") * 86400000),
				Shard:  rapid.IntRange(0, shards-1).Draw(t, "shard"),
				Shards: shards,
			}
		}), func(n generation.Name) generation.Name { return n }).Draw(rt, "names")
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		type set struct {
			id     generation.ID
			shards int
		}
		files := map[set][]string{}
		for _, n := range names {
			touch(rt, dir, n.String())
			key := set{n.ID, n.Shards}
			files[key] = append(files[key], filepath.Join(dir, n.String()))
		}
		for _, n := range names {
			if n.Shard != 0 || rapid.IntRange(0, 2).Draw(rt, "unfinished") > 0 {
				continue
			}
			touch(rt, dir, "."+n.String()+".publishing")
			if key := (set{n.ID, n.Shards}); len(files[key]) < n.Shards { // else all files have their names
				delete(files, key)
			}
		}
		list, err := generation.List(dir)
		if err != nil {
			rt.Fatal(err)
		}
		if len(list) != len(files) {
			rt.Fatalf("%d generations, want %d", len(list), len(files))
		}
		for i, g := range list {
			want := files[set{g.ID, g.Shards}]
			slices.Sort(want)
			if !slices.Equal(g.Files, want) {
				rt.Fatalf("generation %s of %d shards: files %q, want %q", g.ID, g.Shards, g.Files, want)
			}
			if g.Complete() != (len(want) == g.Shards) {
				rt.Fatalf("generation %s with %d of %d files: Complete is %t", g.ID, len(want), g.Shards, g.Complete())
			}
			if i > 0 && list[i-1].ID > g.ID {
				rt.Fatalf("generation %s after %s", g.ID, list[i-1].ID)
			}
		}
	})
}

func TestListIgnoresOtherFiles(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, ".lock", "README", "."+aName+".tmp", "."+aName+".Xa81bc", aName+".part", aName, aName+".publishing", "x.publishing", "."+aName+".publishing")
	for _, name := range []string{".~tmp~", "promotions-20261122T103000124Z-00000-of-00001.pgen"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || !slices.Equal(list[0].Files, []string{filepath.Join(dir, aName)}) {
		t.Errorf("List: %+v, want only %s", list, aName)
	}
}

func TestListErrors(t *testing.T) {
	dir := t.TempDir()
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("empty directory: %v, %v", list, err)
	}
	if _, err := generation.List(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v, want %v", err, fs.ErrNotExist)
	}
}

// TestListAllocatesNothingForOtherFiles checks that other files cost List no memory. A
// server lists its directory every second.
func TestListAllocatesNothingForOtherFiles(t *testing.T) {
	dir := t.TempDir()
	gentest.Publish(t, dir, 1, gentest.Sequence(1))
	list := func() {
		if list, err := generation.List(dir); len(list) != 1 || err != nil {
			t.Errorf("%d generations, %v, want 1", len(list), err)
		}
	}
	before := testing.AllocsPerRun(3, list)
	for i := range 5000 {
		gentest.Must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("other-file-%d.csv", i)), nil, 0o600))
	}
	if after := testing.AllocsPerRun(3, list); after > before+100 { // os.ReadDir allocates for each file; the race detector a few times
		t.Errorf("%.0f allocations among 5,000 other files, %.0f without them", after, before)
	}
}

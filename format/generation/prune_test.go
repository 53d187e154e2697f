package generation_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"promostore/format/generation"

	"pgregory.net/rapid"
)

// errBad is the error of Check for a bad generation.
var errBad = errors.New("bad")

// A planted describes the files of a generation and the result of Check.
type planted struct {
	generation.Name
	files int // number of present shards
	good  bool
}

func (p planted) names() (names []string) {
	for shard := range p.files {
		names = append(names, generation.Name{ID: p.ID, Shard: shard, Shards: p.Shards}.String())
	}
	return names
}

func drawPlanted(t *rapid.T) planted {
	p := planted{Name: generation.Name{ID: generation.ID(rapid.Int64Range(1, 20).Draw(t, "id")), Shards: 1}, files: 1}
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0: // bad
	case 1:
		p.Shards = 3
		p.files = rapid.IntRange(1, 3).Draw(t, "files")
		p.good = p.files == 3 && rapid.Bool().Draw(t, "good")
	default:
		p.good = true
	}
	return p
}

// TestPrune compares Prune with an independent rule: remove a generation if at
// least keep servable ones are newer and it is not pinned, or a servable one has
// released the pin.
func TestPrune(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := rapid.SliceOfNDistinct(rapid.Custom(drawPlanted), 0, 12, func(p planted) generation.ID { return p.ID }).Draw(rt, "generations")
		keep := rapid.IntRange(1, 4).Draw(rt, "keep")
		pinned := generation.ID(rapid.IntRange(0, 20).Draw(rt, "pinned")) // 0: none
		until := generation.ID(rapid.IntRange(0, 20).Draw(rt, "until"))   // newer than this one; 0: unpinned
		dryRun := rapid.Bool().Draw(rt, "dry run")

		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		var before, want, wantGone []string
		newerGood := func(id generation.ID) (n int) {
			for _, p := range all {
				if p.good && p.ID > id {
					n++
				}
			}
			return n
		}
		good := map[generation.ID]bool{}
		for _, p := range all {
			touch(rt, dir, p.names()...)
			before = append(before, p.names()...)
			good[p.ID] = p.good
			if newerGood(p.ID) >= keep && (p.ID != pinned || until != 0 && newerGood(until) > 0) {
				wantGone = append(wantGone, p.names()...)
			} else {
				want = append(want, p.names()...)
			}
		}
		if pinned != 0 { // present or absent: it may arrive later
			text := fmt.Sprintf(`{"generation":"%s"}`, pinned)
			if until != 0 {
				text = fmt.Sprintf(`{"generation":"%s","until_newer_than":"%s"}`, pinned, until)
			}
			if err := os.WriteFile(pinPath(dir), []byte(text), 0o644); err != nil {
				rt.Fatal(err)
			}
		}

		w, err := generation.OpenWriter(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer w.Close()
		pruned, err := w.Prune(context.Background(), generation.PruneOptions{Keep: keep, DryRun: dryRun, Check: func(g generation.Generation) error {
			if !good[g.ID] {
				return errBad
			}
			return nil
		}})
		if err != nil {
			rt.Fatal(err)
		}
		if dryRun {
			want = before
		}
		slices.Sort(want)
		slices.Sort(wantGone)
		entries, err := os.ReadDir(dir)
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			if _, err := generation.ParseName(e.Name()); err == nil {
				got = append(got, e.Name())
			}
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("files %q, want %q", got, want)
		}
		if removed := filesOf(pruned.Removed); !slices.Equal(removed, wantGone) {
			rt.Fatalf("Removed is %q, want %q", removed, wantGone)
		}
		if len(pruned.Kept)+len(pruned.Removed) != len(all) {
			rt.Fatalf("Kept is %v and Removed is %v of %d generations", pruned.Kept, pruned.Removed, len(all))
		}
	})
}

func filesOf(list []generation.Generation) (names []string) {
	for _, g := range list {
		for _, path := range g.Files {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// plant writes n files of 10 bytes with the names of generations 1 to n, and
// returns the names.
func plant(tb rapid.TB, dir string, n int) (names []string) {
	tb.Helper()
	for i := range n {
		name := generation.Name{ID: generation.ID(i + 1), Shards: 1}.String()
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 10), 0o644); err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func allGood(generation.Generation) error { return nil }

func TestPruneBytes(t *testing.T) {
	dir := t.TempDir()
	names := plant(t, dir, 5)
	w := openWriter(t, dir)
	p, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 2, Check: allGood})
	if err != nil || p.Bytes != 30 || len(p.Removed) != 3 || len(p.Kept) != 2 {
		t.Errorf("Prune: %+v, %v", p, err)
	}
	wantNames(t, dir, names[3:]...)
}

// TestPruneErrorRemovesNothing checks that Prune removes nothing if it cannot
// determine the generations to keep.
func TestPruneErrorRemovesNothing(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		opts generation.PruneOptions
		pin  string
		want error
	}{
		{"keep 0", t.Context(), generation.PruneOptions{Keep: 0, Check: allGood}, "", nil},
		{"canceled", canceled, generation.PruneOptions{Keep: 1, Check: allGood}, "", context.Canceled},
		{"unreadable pin", t.Context(), generation.PruneOptions{Keep: 1, Check: allGood}, "{", generation.ErrPin},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			names := plant(t, dir, 5)
			if c.pin != "" {
				if err := os.WriteFile(pinPath(dir), []byte(c.pin), 0o644); err != nil {
					t.Fatal(err)
				}
				names = append(names, generation.PinName)
				slices.Sort(names)
			}
			w := openWriter(t, dir)
			p, err := w.Prune(c.ctx, c.opts)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || len(p.Removed) > 0 {
				t.Errorf("Prune: %+v, %v, want %v", p, err, c.want)
			}
			wantNames(t, dir, names...)
		})
	}
}

// TestPruneChecksFewFiles checks that Prune does not read more files than
// necessary, because files may be large.
func TestPruneChecksFewFiles(t *testing.T) {
	dir := t.TempDir()
	names := plant(t, dir, 5)
	w := openWriter(t, dir)
	var checked []generation.ID
	good := func(g generation.Generation) error {
		checked = append(checked, g.ID)
		return nil
	}
	for _, c := range []struct {
		keep int
		want []generation.ID
	}{{9, nil}, {5, nil}, {3, []generation.ID{5, 4, 3}}} {
		checked = nil
		if _, err := w.Prune(t.Context(), generation.PruneOptions{Keep: c.keep, Check: good}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(checked, c.want) {
			t.Errorf("keep %d: %v are checked, want %v", c.keep, checked, c.want)
		}
	}
	// Only the pinned generation is older, as in each pull during a rollback.
	checked = nil
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 2, Check: good}); err != nil || checked != nil {
		t.Errorf("%v are checked besides the pinned one, error %v", checked, err)
	}
	wantNames(t, dir, append(names[2:], generation.PinName)...)
}

// TestPruneCountsIDs has the newest generation with two numbers of shards. It
// counts once, so the one before it is kept.
func TestPruneCountsIDs(t *testing.T) {
	dir := t.TempDir()
	names := plant(t, dir, 3)
	touch(t, dir, shardNames(3)...)
	w := openWriter(t, dir)
	p, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 2, Check: func(generation.Generation) error { return nil }})
	if err != nil || !slices.Equal(filesOf(p.Removed), names[:1]) {
		t.Errorf("Prune: removed %q, %v, want %q", filesOf(p.Removed), err, names[:1])
	}
}

// TestPruneReportsPartialResult fails to remove the second file: the first is
// removed and reported, the others remain.
func TestPruneReportsPartialResult(t *testing.T) {
	dir := t.TempDir()
	names := plant(t, dir, 5)
	w := openWriter(t, dir)
	p, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 1, Check: func(g generation.Generation) error {
		// Replace a file by a directory after Prune has listed it.
		path := filepath.Join(dir, names[1])
		if _, err := os.Stat(filepath.Join(path, "file")); err == nil {
			return nil
		}
		return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "file"), 0o755))
	}})
	var at *fs.PathError
	if !errors.As(err, &at) || filepath.Base(at.Path) != names[1] || !slices.Equal(filesOf(p.Removed), names[:1]) || !slices.Equal(filesOf(p.Kept), names[1:]) {
		t.Errorf("Prune: %+v, %v", p, err)
	}
	wantNames(t, dir, names[1:]...)
}

// TestPruneToleratesRemovedFile removes a file after Prune has listed it.
func TestPruneToleratesRemovedFile(t *testing.T) {
	dir := t.TempDir()
	names := plant(t, dir, 3)
	w := openWriter(t, dir)
	p, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 1, Check: func(generation.Generation) error {
		return os.Remove(filepath.Join(dir, names[0]))
	}})
	if err != nil || p.Bytes != 10 {
		t.Errorf("Prune: %+v, %v", p, err)
	}
	wantNames(t, dir, names[2:]...)
}

// TestPruneKilled kills a process during Prune: the newest generations remain,
// and the next Prune removes the rest.
func TestPruneKilled(t *testing.T) {
	const all, keep = 400, 3
	prune := func(dir string) error {
		w, err := generation.OpenWriter(dir)
		if err != nil {
			return err
		}
		defer w.Close()
		_, err = w.Prune(context.Background(), generation.PruneOptions{Keep: keep, Check: func(g generation.Generation) error {
			fmt.Println(g.ID)
			return nil
		}})
		return err
	}
	if dir := os.Getenv("PROMO_TEST_PRUNE"); dir != "" {
		if err := prune(dir); err != nil {
			t.Fatal(err)
		}
		return
	}
	for range 10 {
		dir := t.TempDir()
		names := plant(t, dir, all)
		kill(t, "TestPruneKilled", "PROMO_TEST_PRUNE="+dir)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		left := len(entries) - 1 // without the lock file
		if left < keep {
			t.Fatalf("%d generations remain, want at least %d", left, keep)
		}
		wantNames(t, dir, names[all-left:]...)
		if err := prune(dir); err != nil {
			t.Fatal(err)
		}
		wantNames(t, dir, names[all-keep:]...)
	}
}

// TestPruneWhilePinning runs SetPin and Prune concurrently: the generation that
// SetPin has pinned remains.
func TestPruneWhilePinning(t *testing.T) {
	for range 50 {
		dir := t.TempDir()
		plant(t, dir, 6)
		w := openWriter(t, dir)
		done := make(chan error)
		go func() {
			_, err := w.Prune(context.Background(), generation.PruneOptions{Keep: 1, Check: allGood})
			done <- err
		}()
		err := generation.SetPin(dir, generation.Pin{Active: true, ID: 3})
		if perr := <-done; perr != nil {
			t.Fatal(perr)
		}
		_, ferr := generation.Find(dir, 3, generation.AllDigits)
		if err == nil && ferr != nil {
			t.Errorf("the pinned generation is removed: %v", ferr)
		}
		if err != nil && !errors.Is(err, generation.ErrAbsent) {
			t.Errorf("SetPin: %v", err)
		}
	}
}

package builder

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/format"
	"promostore/format/generation"
)

func TestGuardsOfRecords(t *testing.T) {
	const live = 1000
	for _, c := range []struct {
		name             string
		rows, duplicates int64
		min              int64
		shrink           float64
		empty            bool // no live generation
		want             string
	}{
		{name: "no guard", rows: 1},
		{name: "equal to the minimum", rows: 500, min: 500},
		{name: "below the minimum", rows: 499, min: 500, want: "499 records, fewer than the minimum of 500"},
		{name: "below the minimum without duplicates", rows: 510, duplicates: 11, min: 500, want: "499 records, fewer"},
		{name: "one record", rows: 1, min: 2000, want: "1 record, fewer than the minimum of 2,000"},
		{name: "grown", rows: 2000, shrink: 1},
		{name: "shrunk by the limit", rows: 900, shrink: 10},
		{name: "shrunk by more", rows: 899, shrink: 10, want: "899 records, at least 10.1 % fewer than the 1,000 of the live generation 20231114T221320000Z; the minimum is 900"},
		{name: "shrunk by duplicates", rows: 950, duplicates: 100, shrink: 10, want: "850 records, 15.0 % fewer"},
		{name: "shrunk by a fraction", rows: 999, shrink: 0.05, want: "999 records, at least 0.1 % fewer"},
		{name: "shrunk by any number", rows: 1, shrink: 100},
		{name: "no live generation", rows: 1, shrink: 1, empty: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Guards: Guards{MinRecords: c.min, MaxShrink: c.shrink}}
			if !c.empty {
				mustBuild(t, tiny, Options{Dir: opts.Dir, Inputs: []Input{synthetic(t, live, 0)}})
			}
			for _, s := range []sizes{inMemory, tiny} {
				opts.Inputs = []Input{synthetic(t, c.rows, c.duplicates)}
				_, err := buildWith(t.Context(), s, opts)
				if c.want == "" {
					if err != nil {
						t.Fatal(err)
					}
					return // the next build would be compared with this one
				}
				var guard *GuardError
				if !errors.As(err, &guard) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, want a *GuardError that contains %q", err, c.want)
				}
				if got := generations(t, opts.Dir); len(got) != 1 {
					t.Fatalf("generations %v, want the live one", got)
				}
			}
		})
	}
}

// TestGuardCountsRowsBeforeTheSort expects an error that admits that it counts
// rows, since some of them may be duplicates.
func TestGuardCountsRowsBeforeTheSort(t *testing.T) {
	dir := t.TempDir()
	_, err := Build(t.Context(), Options{Dir: dir, Memory: MinMemory, Guards: Guards{MinRecords: 101}, Inputs: []Input{synthetic(t, 100, 20)}})
	var guard *GuardError
	if !errors.As(err, &guard) || !guard.AtMost || !strings.Contains(err.Error(), "at most 100 records, fewer than the minimum of 101") {
		t.Errorf("before the sort: %v", err)
	}
	_, err = Build(t.Context(), Options{Dir: dir, Memory: MinMemory, Guards: Guards{MinRecords: 100}, Inputs: []Input{synthetic(t, 100, 20)}})
	if !errors.As(err, &guard) || guard.AtMost || !strings.Contains(err.Error(), ": 80 records, fewer") && !strings.HasPrefix(err.Error(), "80 records, fewer") {
		t.Errorf("after the sort: %v", err)
	}
}

// The values of a GuardError allow the data set.
func TestGuardErrorValuesAllowDataSet(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, Guards: Guards{MaxShrink: 1, MinRecords: 990}}
	mustBuild(t, tiny, Options{Dir: opts.Dir, Inputs: []Input{synthetic(t, 1000, 0)}})
	for range 2 {
		opts.Inputs = []Input{synthetic(t, 777, 0)}
		_, err := Build(t.Context(), opts)
		var guard *GuardError
		if !errors.As(err, &guard) {
			t.Fatal(err)
		}
		if guard.Live == 0 {
			opts.MinRecords = guard.Records
		} else {
			opts.MaxShrink = guard.MaxShrink()
		}
	}
	if opts.MinRecords != 777 || opts.MaxShrink != 22.3 {
		t.Errorf("MinRecords %d, MaxShrink %v; want 777 and 22.3", opts.MinRecords, opts.MaxShrink)
	}
	opts.Inputs = []Input{synthetic(t, 777, 0)}
	if _, err := Build(t.Context(), opts); err != nil {
		t.Error(err)
	}
}

func TestGuardComparesWithPinnedGeneration(t *testing.T) {
	dir := t.TempDir()
	mustBuild(t, tiny, Options{Dir: dir, Inputs: []Input{synthetic(t, 1000, 0)}})
	small := Options{Dir: dir, Memory: MinMemory, Inputs: []Input{synthetic(t, 10, 0)}}
	if _, err := Build(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: testGeneration}); err != nil {
		t.Fatal(err)
	}
	small.Inputs, small.MaxShrink = []Input{synthetic(t, 10, 0)}, 50
	var guard *GuardError
	if _, err := Build(t.Context(), small); !errors.As(err, &guard) || guard.Live != testGeneration || guard.LiveRecords != 1000 {
		t.Errorf("error %v, want a *GuardError with the live generation %s", err, testGeneration)
	}
}

// A guard that cannot read the live generation refuses the data set. A MaxShrink
// of 100 allows it.
func TestGuardRefusesIfLiveGenerationIsUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(live string) error
		want   error // nil: the data set is published
	}{
		"damaged index": {func(live string) error { return os.WriteFile(live, make([]byte, 8192), 0o644) }, format.ErrFormat},
		"truncated":     {func(live string) error { return os.Truncate(live, 4096) }, format.ErrTruncated},
		"link to itself": {func(live string) error {
			return errors.Join(os.Remove(live), os.Symlink(live, live))
		}, syscall.ELOOP},
		"damaged pin": {func(live string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(live), generation.PinName), []byte("{"), 0o644)
		}, generation.ErrPin},
		"removed": {os.Remove, nil},
	} {
		for _, sharding := range []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}} {
			t.Run(fmt.Sprintf("%s, %d shards", name, sharding.Shards), func(t *testing.T) {
				dir := t.TempDir()
				mustBuild(t, tiny, Options{Dir: dir, Inputs: []Input{synthetic(t, 3, 0)}})
				live, err := Build(t.Context(), Options{Dir: dir, Memory: MinMemory, Sharding: sharding, Inputs: []Input{synthetic(t, 1000, 0)}})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.damage(live.Files[len(live.Files)-1]); err != nil {
					t.Fatal(err)
				}
				opts := Options{Dir: dir, Memory: MinMemory, Guards: Guards{MaxShrink: 50}, Inputs: []Input{synthetic(t, 5, 0)}}
				_, err = Build(t.Context(), opts)
				if c.want == nil {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				var guard *GuardError
				if !errors.As(err, &guard) || !errors.Is(err, c.want) || guard.MaxShrink() != 100 {
					t.Fatalf("error %v, want a *GuardError that wraps %v", err, c.want)
				}
				opts.MaxShrink, opts.Inputs = guard.MaxShrink(), []Input{synthetic(t, 5, 0)}
				if _, err := Build(t.Context(), opts); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// An input that cannot fit on the disk is not opened.
func TestInputWithoutSpaceIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	in := synthetic(t, 1, 0)
	in.Size = 1 << 60
	open := in.Open
	in.Open = func() (io.ReadCloser, error) {
		t.Error("the input is opened")
		return open()
	}
	_, err := Build(t.Context(), Options{Dir: dir, Memory: MinMemory, Inputs: []Input{in}})
	var space *SpaceError
	if !errors.As(err, &space) || !errors.Is(err, syscall.ENOSPC) || space.Dir != dir || space.Need < 1<<57 || space.Free >= space.Need {
		t.Errorf("error %+v, want a *SpaceError", err)
	}
	wantFiles(t, dir, ".lock")
}

// The space for the spill is checked before the input is read, like that for the
// generation.
func TestSpillSpaceIsCheckedFirst(t *testing.T) {
	read := false
	in := Input{Name: "rows", Size: 1 << 58, Open: func() (io.ReadCloser, error) {
		read = true
		return io.NopCloser(strings.NewReader("")), nil
	}}
	dir, want := t.TempDir(), "/dev/shm"
	if sameDisk(dir, want) {
		want = dir
	}
	_, err := Build(t.Context(), Options{Dir: dir, TempDir: "/dev/shm", Memory: MinMemory, Inputs: []Input{in}})
	var space *SpaceError
	if !errors.As(err, &space) || space.Dir != want || read {
		t.Errorf("error %v, input read %t, want a *SpaceError of the temporary directory before the input is read", err, read)
	}
}

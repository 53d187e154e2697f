package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
)

// rowsOf returns rows with the ids from lo to hi-1, newest first, with this price
// and date.
func rowsOf(lo, hi int, price, date string) string {
	var b strings.Builder
	for i := hi - 1; i >= lo; i-- {
		fmt.Fprintf(&b, "172ffc14-d229-4c93-b06b-%012x,%s,%s\n", i, price, date)
	}
	return b.String()
}

const someDate = "2022-06-04 06:01:20 +0200 CEST"

// rows is rowsOf with the price and the date of the live generation.
func rows(lo, hi int) string { return rowsOf(lo, hi, "9.68", someDate) }

func textInput(text string) []Input { return []Input{stream("rows", []byte(text))} }

func TestContentGuard(t *testing.T) {
	const live = 1000
	for _, c := range []struct {
		name   string
		csv    string
		guards Guards
		want   *diff.Counts // nil: no comparison
		err    string
	}{
		{"no limit", rows(5000, 6000), Guards{MaxShrink: 50}, nil, ""},
		{"the same", rows(0, 1000), Guards{MaxAdded: 1, MaxRemoved: 1, MaxChanged: 1}, &diff.Counts{Unchanged: 1000}, ""},
		{"added up to the limit", rows(0, 1101), Guards{MaxAdded: 10.1}, &diff.Counts{Added: 101, Unchanged: 1000}, ""},
		{"added beyond the limit", rows(0, 1102), Guards{MaxAdded: 10.1, MaxRemoved: 1}, &diff.Counts{Added: 102, Unchanged: 1000},
			"compared with the 1,000 records of the live generation 20231114T221320000Z: 102 added (10.2 %, limit 10.1 %)"},
		{"removed up to the limit", rows(50, 1000), Guards{MaxRemoved: 5}, &diff.Counts{Removed: 50, Unchanged: 950}, ""},
		{"removed beyond the limit", rows(51, 1000), Guards{MaxRemoved: 5}, &diff.Counts{Removed: 51, Unchanged: 949}, "51 removed (5.1 %, limit 5 %)"},
		{"changed up to the limit", rowsOf(0, 5, "9.7", someDate) + rows(5, 1000), Guards{MaxChanged: 0.5}, &diff.Counts{Changed: 5, Unchanged: 995}, ""},
		{"prices and dates changed", rowsOf(0, 4, "9.680", someDate) + rowsOf(4, 8, "9.68", "2022-06-04 06:01:20") + rows(8, 1000), Guards{MaxChanged: 0.5},
			&diff.Counts{Changed: 8, Unchanged: 992}, "8 changed (0.8 %, limit 0.5 %)"},
		{"a limit for another kind", rows(500, 2000), Guards{MaxChanged: 1}, &diff.Counts{Added: 1000, Removed: 500, Unchanged: 500}, ""},
		{"everything replaced", rows(5000, 16000), Guards{MaxAdded: 50, MaxRemoved: 20, MaxChanged: 10}, &diff.Counts{Added: 11000, Removed: 1000},
			"11,000 added (1100.0 %, limit 50 %), 1,000 removed (100.0 %, limit 20 %)"},
		{"repeated ids", rows(0, 1000) + rowsOf(0, 30, "1", someDate) + rows(0, 10), Guards{MaxChanged: 2, MaxAdded: 1}, &diff.Counts{Changed: 20, Unchanged: 980}, ""},
		{"no records", "", Guards{MaxRemoved: 99, AllowEmpty: true}, &diff.Counts{Removed: 1000}, "1,000 removed (100.0 %, limit 99 %)"},
		{"no records allowed", "", Guards{MaxRemoved: 100, AllowEmpty: true}, &diff.Counts{Removed: 1000}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range []sizes{inMemory, tiny} {
				opts := Options{Dir: t.TempDir(), Guards: c.guards}
				mustBuild(t, tiny, Options{Dir: opts.Dir, Inputs: textInput(rows(0, live))})
				opts.Inputs = textInput(c.csv)
				sum, err := buildWith(t.Context(), s, opts)
				if c.err == "" {
					if err != nil {
						t.Fatal(err)
					}
					wantComparison(t, sum.Comparison, c.want)
					continue
				}
				var content *ContentError
				if !errors.As(err, &content) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want a *ContentError that contains %q", err, c.err)
				}
				wantComparison(t, content.Comparison, c.want)
				wantFiles(t, opts.Dir, ".lock", "promotions-20231114T221320000Z-00000-of-00001.pgen")
				// The values of the error allow the data set.
				for _, x := range content.Excesses {
					switch x.Kind {
					case "added":
						opts.MaxAdded = x.Need
					case "removed":
						opts.MaxRemoved = x.Need
					case "changed":
						opts.MaxChanged = x.Need
					}
				}
				opts.Inputs = textInput(c.csv)
				if _, err := buildWith(t.Context(), s, opts); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func wantComparison(t *testing.T, got *Comparison, want *diff.Counts) {
	t.Helper()
	switch {
	case got == nil && want == nil:
	case got == nil || want == nil || got.Counts != *want || got.LiveRecords != 1000 || got.Live != testGeneration.String():
		t.Errorf("comparison %+v, want %+v", got, want)
	}
}

// Nothing is in proportion to a live generation that is missing or empty.
func TestContentGuardAllowsFirstDataSet(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, Guards: Guards{MaxAdded: 1, MaxRemoved: 1, AllowEmpty: true}}
	for i, csv := range []string{"", rows(0, 100)} {
		opts.Inputs = textInput(csv)
		sum, err := Build(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		if (sum.Comparison != nil) != (i > 0) || i > 0 && sum.Comparison.Added != 100 {
			t.Errorf("data set %d: comparison %+v", i, sum.Comparison)
		}
	}
}

// The new data set is compared with the one that servers serve, not with the
// newest.
func TestContentGuardComparesWithPinnedGeneration(t *testing.T) {
	dir := t.TempDir()
	mustBuild(t, tiny, Options{Dir: dir, Inputs: textInput(rows(0, 1000))})
	opts := Options{Dir: dir, Memory: MinMemory, Inputs: textInput(rows(5000, 5010))}
	if _, err := Build(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: testGeneration}); err != nil {
		t.Fatal(err)
	}
	opts.Inputs, opts.MaxRemoved = textInput(rows(0, 1000)), 1
	sum, err := Build(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	wantComparison(t, sum.Comparison, &diff.Counts{Unchanged: 1000})
}

// A data set that cannot be compared is refused if there is a limit, and only
// then.
func TestContentGuardRefusesIfLiveGenerationIsUnreadable(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(live string) error
		want   error
	}{
		"damaged block": {func(live string) error {
			f, err := os.OpenFile(live, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("damage"), format.BlockOff(2))
			return errors.Join(err, f.Close())
		}, format.ErrChecksum},
		"damaged index": {func(live string) error { return os.WriteFile(live, make([]byte, 8192), 0o644) }, format.ErrFormat},
		"damaged pin": {func(live string) error {
			return os.WriteFile(filepath.Join(filepath.Dir(live), generation.PinName), []byte("{"), 0o644)
		}, generation.ErrPin},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: textInput(rows(0, 1000))}
			live, err := Build(t.Context(), opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.damage(live.File); err != nil {
				t.Fatal(err)
			}
			opts.Inputs, opts.MaxChanged = textInput(rows(0, 1000)), 100
			_, err = Build(t.Context(), opts)
			var content *ContentError
			if !errors.As(err, &content) || !errors.Is(err, c.want) || content.Comparison != nil {
				t.Errorf("error %v, want a *ContentError that wraps %v", err, c.want)
			}
			opts.Inputs, opts.MaxChanged = textInput(rows(0, 1000)), 0
			if _, err := Build(t.Context(), opts); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestComparisonIsCanceled(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: textInput(rows(0, 1000))}
	if _, err := Build(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opts.Inputs, opts.MaxChanged = textInput(rows(0, 1000)), 100
	opts.Observe = func(s Status) {
		if s.Phase == PhaseCompare {
			cancel()
		}
	}
	if _, err := Build(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if got := generations(t, opts.Dir); len(got) != 1 {
		t.Errorf("generations %v, want the live one", got)
	}
}

func TestContentErrorOfOneRecord(t *testing.T) {
	err := &ContentError{
		Comparison: &Comparison{Live: "L", LiveRecords: 1, Counts: diff.Counts{Removed: 1}},
		Excesses:   []Excess{{Kind: "removed", Count: 1, Max: 50}},
	}
	if got, want := err.Error(), "compared with the 1 record of the live generation L: 1 removed (100.0 %, limit 50 %)"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

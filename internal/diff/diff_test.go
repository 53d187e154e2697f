package diff_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"promostore/format"
	"promostore/internal/diff"
)

// The first two styles are in the other order in the second dictionary.
var (
	fromStyles = []format.TimestampStyle{{Layout: 1}, {Layout: 2}}
	toStyles   = []format.TimestampStyle{{Layout: 2}, {Layout: 1}}
)

// records returns a record for each id that is not 0. The price is the second
// number and the style the third.
func records(rows ...[3]uint64) (list []format.Record) {
	for _, r := range rows {
		list = append(list, format.MakeRecord(format.Key{Lo: r[0]}, false, format.Price{Digits: r[1]}, 0, uint16(r[2])))
	}
	return list
}

// sourceOf returns a source that yields n records at a time, and then err.
func sourceOf(styles []format.TimestampStyle, n int, err error, list []format.Record) diff.Source {
	return diff.Source{Styles: styles, Scan: func(_ context.Context, yield func([]format.Record) error) error {
		for chunk := range slices.Chunk(list, n) {
			chunk = slices.Clone(chunk)
			if err := yield(chunk); err != nil {
				return err
			}
			clear(chunk) // the records are no longer valid
		}
		return err
	}}
}

func TestCompare(t *testing.T) {
	from := records([3]uint64{1, 10, 0}, [3]uint64{2, 20, 1}, [3]uint64{4, 40, 0}, [3]uint64{6, 60, 0}, [3]uint64{7, 70, 0})
	to := records([3]uint64{1, 10, 1}, [3]uint64{2, 21, 0}, [3]uint64{3, 30, 0}, [3]uint64{4, 40, 0}, [3]uint64{7, 70, 1}, [3]uint64{8, 80, 0}, [3]uint64{9, 90, 0})
	for _, n := range [][2]int{{1, 1}, {1, 100}, {100, 1}, {2, 3}, {100, 100}} {
		var got []string
		read := 0
		c := diff.Comparer{
			Added:    func(to *format.Record) { got = append(got, fmt.Sprint("+", to.Key().Lo)) },
			Removed:  func(from *format.Record) { got = append(got, fmt.Sprint("-", from.Key().Lo)) },
			Changed:  func(from, to *format.Record) { got = append(got, fmt.Sprint("!", from.Key().Lo, to.Key().Lo)) },
			Progress: func(n int) { read += n },
		}
		for range 2 { // a Comparer can be used again
			got, read = nil, 0
			counts, err := c.Compare(t.Context(), sourceOf(fromStyles, n[0], nil, from), sourceOf(toStyles, n[1], nil, to))
			if want := (diff.Counts{Added: 3, Removed: 1, Changed: 2, Unchanged: 2}); err != nil || counts != want || read != 12 {
				t.Errorf("%v records at a time: %+v, %d records read, %v; want %+v", n, counts, read, err, want)
			}
			if want := []string{"!2 2", "+3", "!4 4", "-6", "+8", "+9"}; !slices.Equal(got, want) {
				t.Errorf("%v records at a time: %q, want %q", n, got, want)
			}
		}
	}
}

func TestCompareEmpty(t *testing.T) {
	list := records([3]uint64{1, 10, 0}, [3]uint64{2, 20, 0})
	for _, c := range []struct {
		from, to []format.Record
		want     diff.Counts
	}{
		{nil, nil, diff.Counts{}},
		{nil, list, diff.Counts{Added: 2}},
		{list, nil, diff.Counts{Removed: 2}},
		{list, list, diff.Counts{Unchanged: 2}},
	} {
		var none diff.Comparer
		if got, err := none.Compare(t.Context(), sourceOf(fromStyles, 1, nil, c.from), sourceOf(fromStyles, 1, nil, c.to)); err != nil || got != c.want {
			t.Errorf("%d and %d records: %+v, %v; want %+v", len(c.from), len(c.to), got, err, c.want)
		}
	}
}

// The error of a file that cannot be read to its end is that of the comparison.
func TestCompareReturnsErrorOfScan(t *testing.T) {
	damaged := errors.New("damaged")
	list := records([3]uint64{1, 10, 0}, [3]uint64{2, 20, 0})
	var c diff.Comparer
	for _, errs := range [][2]error{{damaged, nil}, {nil, damaged}} {
		_, err := c.Compare(t.Context(), sourceOf(fromStyles, 1, errs[0], list), sourceOf(fromStyles, 1, errs[1], list))
		if !errors.Is(err, damaged) {
			t.Errorf("error %v, want %v", err, damaged)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Compare(ctx, sourceOf(fromStyles, 1, nil, list), sourceOf(fromStyles, 1, nil, list)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"promostore/format"
	"promostore/internal/diff"
	"promostore/internal/english"
	"promostore/internal/escape"
)

// A comparison holds the differences between two generations.
type comparison struct {
	From side `json:"from"`
	To   side `json:"to"`

	diff.Counts

	Shown shown `json:"shown"`
}

// A side is one of the two generations.
type side struct {
	File       string `json:"file"` // or a pattern for the files of several shards
	Generation string `json:"generation"`
	Records    uint64 `json:"records"`
}

func sideOf(o opened) side { return side{o.path, o.ID().String(), o.Header.Records} }

// compare compares two generations and keeps up to show rows of each kind. It
// passes the numbers of records that were read to progress, which may be nil.
func compare(ctx context.Context, from, to opened, show int, progress func(records int)) (comparison, error) {
	d := comparison{From: sideOf(from), To: sideOf(to), Shown: shown{[]row{}, []row{}, []changedRow{}}}
	c := diff.Comparer{
		Added: func(r *format.Record) {
			if len(d.Shown.Added) < show {
				d.Shown.Added = append(d.Shown.Added, row{*r, to.Styles()})
			}
		},
		Removed: func(r *format.Record) {
			if len(d.Shown.Removed) < show {
				d.Shown.Removed = append(d.Shown.Removed, row{*r, from.Styles()})
			}
		},
		Changed: func(a, b *format.Record) {
			if len(d.Shown.Changed) < show {
				d.Shown.Changed = append(d.Shown.Changed, changedRow{row{*a, from.Styles()}, row{*b, to.Styles()}})
			}
		},
		Progress: progress,
	}
	var err error
	d.Counts, err = c.Compare(ctx, diff.Source{Styles: from.Styles(), Scan: from.Scan}, diff.Source{Styles: to.Styles(), Scan: to.Scan})
	return d, err
}

// shown holds the first rows of each kind, in the order of their ids.
type shown struct {
	Added   []row        `json:"added"`
	Removed []row        `json:"removed"`
	Changed []changedRow `json:"changed"`
}

type changedRow struct {
	From row `json:"from"`
	To   row `json:"to"`
}

// A row is a record with the dictionary of its file.
type row struct {
	record format.Record
	styles []format.TimestampStyle
}

func (r row) MarshalJSON() ([]byte, error) {
	return format.JSONOptions{Date: format.DateSource, Decimals: -1}.AppendJSON(nil, &r.record, r.styles), nil
}

func (r row) String() string { return string(r.record.AppendCSV(nil, r.styles, ',')) }

func printComparison(w io.Writer, d *comparison) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "from\t%s: %s\n", escape.Name(d.From.File), english.Count(d.From.Records, "record"))
	fmt.Fprintf(t, "to\t%s: %s\n", escape.Name(d.To.File), english.Count(d.To.Records, "record"))
	fmt.Fprintf(t, "added\t%s\n", humanize.Comma(d.Added))
	fmt.Fprintf(t, "removed\t%s\n", humanize.Comma(d.Removed))
	fmt.Fprintf(t, "changed\t%s\n", humanize.Comma(d.Changed))
	fmt.Fprintf(t, "unchanged\t%s\n", humanize.Comma(d.Unchanged))
	title := func(kind string, n int, of int64) {
		if n > 0 {
			fmt.Fprintf(t, "\n%s, %s of %s:\n", kind, humanize.Comma(int64(n)), humanize.Comma(of))
		}
	}
	title("added", len(d.Shown.Added), d.Added)
	for _, r := range d.Shown.Added {
		fmt.Fprintf(t, "+ %s\n", r)
	}
	title("removed", len(d.Shown.Removed), d.Removed)
	for _, r := range d.Shown.Removed {
		fmt.Fprintf(t, "- %s\n", r)
	}
	title("changed", len(d.Shown.Changed), d.Changed)
	for _, r := range d.Shown.Changed {
		fmt.Fprintf(t, "- %s\n+ %s\n", r.From, r.To)
	}
	return t.Flush()
}

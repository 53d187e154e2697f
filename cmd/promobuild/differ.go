package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"promostore/format"
	"promostore/reader"
)

// A differ compares two files, whose records come in the order of their ids.
type differ struct {
	comparison
	show     int
	progress func(records int) // may be nil
}

// run compares two files. Each is read and checked in its own goroutine, and a
// third one compares.
func (d *differ) run(ctx context.Context, from, to *reader.File) error {
	d.Shown = shown{[]row{}, []row{}, []changedRow{}}
	group, ctx := errgroup.WithContext(ctx)
	a, b := newStream(from), newStream(to)
	group.Go(func() error { return a.fill(ctx, d.From.File) })
	group.Go(func() error { return b.fill(ctx, d.To.File) })
	group.Go(func() error { return d.compare(ctx, a, b) })
	return group.Wait()
}

// compare steps through both streams. Invariant: all records before the current
// ones have been counted.
func (d *differ) compare(ctx context.Context, a, b *stream) error {
	styles, same := sameStyles(a.styles, b.styles)
	for {
		if err := d.refill(ctx, a, b); err != nil {
			return err
		}
		if same {
			n := equalPrefix(a.records, b.records)
			d.Unchanged += int64(n)
			a.records, b.records = a.records[n:], b.records[n:]
		}
		switch {
		case len(a.records) == 0 && len(b.records) == 0:
			if a.ended && b.ended {
				return nil
			}
		case len(a.records) == 0 && !a.ended, len(b.records) == 0 && !b.ended:
			// The next record of the empty stream may have the same id.
		default:
			d.step(a, b, styles)
		}
	}
}

// refill gives every stream at least one record, unless it has ended.
func (d *differ) refill(ctx context.Context, streams ...*stream) error {
	for _, s := range streams {
		if len(s.records) > 0 || s.ended {
			continue
		}
		if err := s.next(ctx); err != nil {
			return err
		}
		if d.progress != nil {
			d.progress(len(s.records))
		}
	}
	return nil
}

// step compares the current records of a and b. At least one has not ended.
func (d *differ) step(a, b *stream, styles []int) {
	order := -1
	switch {
	case len(a.records) == 0:
		order = 1
	case len(b.records) > 0:
		order = a.records[0].Key().Compare(b.records[0].Key())
	}
	switch {
	case order < 0:
		d.Removed++
		d.Shown.Removed = keep(d.Shown.Removed, d.show, row{a.records[0], a.styles})
		a.records = a.records[1:]
		return
	case order > 0:
		d.Added++
		d.Shown.Added = keep(d.Shown.Added, d.show, row{b.records[0], b.styles})
		b.records = b.records[1:]
		return
	}
	from, to := &a.records[0], &b.records[0]
	if from.Price() == to.Price() && from.Seconds() == to.Seconds() && styles[from.Style()] == to.Style() {
		d.Unchanged++
	} else {
		d.Changed++
		if len(d.Shown.Changed) < d.show {
			d.Shown.Changed = append(d.Shown.Changed, changedRow{row{*from, a.styles}, row{*to, b.styles}})
		}
	}
	a.records, b.records = a.records[1:], b.records[1:]
}

// keep appends r to rows unless there are most already.
func keep(rows []row, most int, r row) []row {
	if len(rows) < most {
		rows = append(rows, r)
	}
	return rows
}

// equalPrefix returns the length of the longest common prefix of a and b.
func equalPrefix(a, b []format.Record) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// sameStyles returns the index in b of each style of a, or -1, and whether all
// indexes are the same in a.
func sameStyles(a, b []format.TimestampStyle) (at []int, same bool) {
	in := map[format.TimestampStyle]int{}
	for i, z := range b {
		in[z] = i
	}
	same = true
	at = make([]int, len(a))
	for i, z := range a {
		j, found := in[z]
		if !found {
			j = -1
		}
		at[i] = j
		same = same && i == j
	}
	return at, same
}

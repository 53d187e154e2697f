// Package diff compares two sorted sets of records in one pass. promobuild diff
// shows the differences, and the content guards of a build count them.
package diff

import (
	"context"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// A Source supplies the records of a generation, such as a generation.Set.
type Source struct {
	Styles []format.TimestampStyle // dictionary of the generation

	// Scan calls yield with all records in ascending order of their ids, some at
	// a time. The records are valid until yield returns. An error of yield ends
	// Scan.
	Scan func(ctx context.Context, yield func([]format.Record) error) error
}

// Counts holds the number of records of each kind.
type Counts struct {
	Added     int64 `json:"added"`     // only in the second generation
	Removed   int64 `json:"removed"`   // only in the first generation
	Changed   int64 `json:"changed"`   // with another price or date, or one that is written differently
	Unchanged int64 `json:"unchanged"` // the same in both generations
}

// Add adds the numbers of another comparison to c.
func (c *Counts) Add(o Counts) {
	c.Added += o.Added
	c.Removed += o.Removed
	c.Changed += o.Changed
	c.Unchanged += o.Unchanged
}

// A Comparer compares two generations. The zero value only counts.
type Comparer struct {
	// Added, Removed and Changed, if not nil, receive every record of their kind
	// in ascending order of the ids. The records are valid during the call.
	Added   func(to *format.Record)
	Removed func(from *format.Record)
	Changed func(from, to *format.Record)

	// Progress, if not nil, receives numbers of records that were read.
	Progress func(records int)

	counts Counts
}

// Compare reads each generation once, in a goroutine of its own, and compares in
// another one. The error is that of a Scan, or of ctx.
func (c *Comparer) Compare(ctx context.Context, from, to Source) (Counts, error) {
	c.counts = Counts{}
	group, ctx := errgroup.WithContext(ctx)
	a, b := newStream(from), newStream(to)
	group.Go(func() error { return a.fill(ctx) })
	group.Go(func() error { return b.fill(ctx) })
	group.Go(func() error { return c.compare(ctx, a, b) })
	if err := group.Wait(); err != nil {
		return Counts{}, err
	}
	return c.counts, nil
}

// compare steps through both streams. Invariant: all records before the current
// ones have been counted.
func (c *Comparer) compare(ctx context.Context, a, b *stream) error {
	styles, same := sameStyles(a.source.Styles, b.source.Styles)
	for {
		if err := c.refill(ctx, a, b); err != nil {
			return err
		}
		if same {
			n := equalPrefix(a.records, b.records)
			c.counts.Unchanged += int64(n)
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
			c.step(a, b, styles)
		}
	}
}

// refill gives every stream at least one record, unless it has ended.
func (c *Comparer) refill(ctx context.Context, streams ...*stream) error {
	for _, s := range streams {
		if len(s.records) > 0 || s.ended {
			continue
		}
		if err := s.next(ctx); err != nil {
			return err
		}
		if c.Progress != nil {
			c.Progress(len(s.records))
		}
	}
	return nil
}

// step compares the current records of a and b. At least one has not ended.
func (c *Comparer) step(a, b *stream, styles []int) {
	order := -1
	switch {
	case len(a.records) == 0:
		order = 1
	case len(b.records) > 0:
		order = a.records[0].Key().Compare(b.records[0].Key())
	}
	switch {
	case order < 0:
		c.counts.Removed++
		if c.Removed != nil {
			c.Removed(&a.records[0])
		}
		a.records = a.records[1:]
		return
	case order > 0:
		c.counts.Added++
		if c.Added != nil {
			c.Added(&b.records[0])
		}
		b.records = b.records[1:]
		return
	}
	from, to := &a.records[0], &b.records[0]
	if from.Price() == to.Price() && from.Seconds() == to.Seconds() && styles[from.Style()] == to.Style() {
		c.counts.Unchanged++
	} else {
		c.counts.Changed++
		if c.Changed != nil {
			c.Changed(from, to)
		}
	}
	a.records, b.records = a.records[1:], b.records[1:]
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

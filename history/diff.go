package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
)

// A Kind is a kind of Change.
type Kind string

// The kinds.
const (
	Added   Kind = "added"   // only the second generation has the id
	Removed Kind = "removed" // only the first one has it
	Changed Kind = "changed" // another price, date, or spelling of them
)

// A Change is a difference between two generations.
type Change struct {
	Kind     Kind
	From, To *Side // nil: the generation has no record
}

// A Side is the record of one generation.
type Side struct {
	Record *format.Record          // valid during the call
	Styles []format.TimestampStyle // dictionary of Record
}

// ErrManyFiles reports that two generations are divided into different shards, and
// that a comparison needs more than MaxDiffFiles of them at a time.
var ErrManyFiles = errors.New("the generations are divided differently, and into too many files to compare here")

// MaxDiffFiles is the number of files that Diff opens at a time. To merge them takes
// up to 64 MiB of memory for each generation. Files of the same sharding are compared
// one by one, in 8 MiB.
const MaxDiffFiles = 64

// A Diff is a comparison of two generations. The caller calls Run or Close.
type Diff struct {
	d     Directory
	parts []part
	open  sets // of the first part
}

// A part of two generations is compared at once.
type part struct{ from, to opener }

// An opener opens the files of a part of a generation.
type opener func() (*generation.Set, error)

// sets are the open files of a part.
type sets struct{ from, to *generation.Set }

// Diff prepares to compare two generations of d. The error wraps
// generation.ErrAbsent, generation.ErrIncomplete, ErrManyFiles, or is that of a file.
func (d Directory) Diff(from, to generation.ID) (*Diff, error) {
	a, err := generation.Find(d.Path, from, d.Digits)
	if err != nil {
		return nil, err
	}
	b, err := generation.Find(d.Path, to, d.Digits)
	if err != nil {
		return nil, err
	}
	parts, err := d.parts(a, b)
	if err != nil {
		return nil, err
	}
	first, err := parts[0].open()
	if err != nil {
		return nil, err
	}
	return &Diff{d, parts, first}, nil
}

// Close closes the files.
func (x *Diff) Close() { x.open.close() }

// Run compares, calls visit with every change, and progress at least after each MiB
// of records. Both may be nil. The changes are in the order of the ids, or with the
// same sharding in that of the shards and their ids. An error of visit or progress
// ends Run.
func (x *Diff) Run(ctx context.Context, visit func(Change) error, progress func() error) (total diff.Counts, err error) {
	open := x.open
	for i, p := range x.parts {
		if i > 0 {
			if open, err = p.open(); err != nil {
				return total, err
			}
		}
		counts, err := open.compare(ctx, x.d, visit, progress)
		open.close()
		if err != nil {
			return total, err
		}
		total.Add(counts)
	}
	return total, nil
}

func (p part) open() (s sets, err error) {
	if s.from, err = p.from(); err != nil {
		return sets{}, err
	}
	if s.to, err = p.to(); err != nil {
		s.from.Close()
		return sets{}, err
	}
	return s, nil
}

func (s sets) close() {
	s.from.Close()
	s.to.Close()
}

// parts returns the parts of a and b: each shard if they have the same sharding, or
// all shards at once.
func (d Directory) parts(a, b generation.Generation) (list []part, err error) {
	ha, err := readHeader(a.Files[0])
	if err != nil {
		return nil, err
	}
	hb, err := readHeader(b.Files[0])
	if err != nil {
		return nil, err
	}
	if ha.Sharding != hb.Sharding {
		if len(a.Files)+len(b.Files) > MaxDiffFiles {
			return nil, fmt.Errorf("%w: %d and %d, above the maximum of %d together", ErrManyFiles, len(a.Files), len(b.Files), MaxDiffFiles)
		}
		whole := func(g generation.Generation) opener {
			return func() (*generation.Set, error) { return g.OpenSet(d.Digits) }
		}
		return []part{{whole(a), whole(b)}}, nil
	}
	for shard := range a.Shards {
		if d.Digits != generation.AllDigits && !d.Digits.Owns(ha.Sharding, uint32(shard)) {
			continue
		}
		one := func(g generation.Generation) opener {
			return func() (*generation.Set, error) { return generation.OpenFile(g.Path(shard)) }
		}
		list = append(list, part{one(a), one(b)})
	}
	return list, nil
}

// compare compares the records of s.
func (s sets) compare(ctx context.Context, d Directory, visit func(Change) error, progress func() error) (diff.Counts, error) {
	from, to := s.from, s.to
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call := func(c Change) {
		if visit == nil || ctx.Err() != nil {
			return
		}
		if err := visit(c); err != nil {
			cancel(err)
		}
	}
	c := diff.Comparer{
		Added:   func(r *format.Record) { call(Change{Added, nil, &Side{r, to.Styles()}}) },
		Removed: func(r *format.Record) { call(Change{Removed, &Side{r, from.Styles()}, nil}) },
		Changed: func(a, b *format.Record) { call(Change{Changed, &Side{a, from.Styles()}, &Side{b, to.Styles()}}) },
		Progress: func(int) {
			if progress != nil && ctx.Err() == nil {
				if err := progress(); err != nil {
					cancel(err)
				}
			}
		},
	}
	counts, err := c.Compare(ctx, d.sourceOf(from, to), d.sourceOf(to, from))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return counts, err
}

// sourceOf returns the records of s whose ids other can have too, if both have only the
// shards of some digits. It pauses after each part, up to 1 MiB. Without pauses, a
// request of a server may wait for 10 ms, the time slice of the scheduler.
func (d Directory) sourceOf(s, other *generation.Set) diff.Source {
	foreign := func(r format.Record) bool { return !other.Owns(r.Key()) }
	isPart := d.Digits != generation.AllDigits && s.Header.Sharding != other.Header.Sharding
	return diff.Source{Styles: s.Styles(), Scan: func(ctx context.Context, yield func([]format.Record) error) error {
		began := time.Now()
		return s.Scan(ctx, func(records []format.Record) error {
			read := time.Since(began)
			if isPart {
				records = slices.DeleteFunc(records, foreign)
			}
			err := yield(records)
			d.pause(read)
			began = time.Now()
			return err
		})
	}}
}

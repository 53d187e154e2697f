package tasks

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// A MissingError reports tasks that are not done.
type MissingError struct {
	Kind    string // "split" or "merge"
	Count   int    // tasks of this kind
	Missing []int
}

func (e *MissingError) Error() string {
	are := "are"
	if len(e.Missing) == 1 {
		are = "is"
	}
	return fmt.Sprintf("%d of %d %ss %s not done: %s", len(e.Missing), e.Count, e.Kind, are, generation.ShardRanges(e.Missing))
}

// doneAtOnce is the number of done files that are read at the same time.
const doneAtOnce = 16

// forEach calls read, which reads the done file of a task, for each of n tasks. The
// error is a *MissingError if objects.ErrNotFound is the only kind of error.
func forEach(ctx context.Context, kind string, n int, read func(ctx context.Context, i int) error) error {
	absent := make([]bool, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(doneAtOnce)
	for i := range n {
		g.Go(func() error {
			err := read(ctx, i)
			if errors.Is(err, objects.ErrNotFound) {
				absent[i] = true
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	missing := &MissingError{Kind: kind, Count: n}
	for i := range absent {
		if absent[i] {
			missing.Missing = append(missing.Missing, i)
		}
	}
	if len(missing.Missing) > 0 {
		return missing
	}
	return nil
}

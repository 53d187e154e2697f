package generation

import (
	"context"
	"fmt"
	"slices"

	"promostore/internal/fsx"
)

// First returns the first of candidates that passes check, which reports why a
// generation is not servable. If none passes, the error wraps ErrNoneServable
// and the error of the first candidate. If the process has too many open files,
// First returns that error: the generation may be servable.
func First(ctx context.Context, candidates []Generation, check func(Generation) error) (Generation, error) {
	var reason error
	for _, g := range candidates {
		err := check(g)
		switch {
		case ctx.Err() != nil:
			return Generation{}, context.Cause(ctx)
		case err == nil:
			return g, nil
		case fsx.IsTooManyOpen(err):
			return Generation{}, err
		case reason == nil:
			reason = err
		}
	}
	if reason != nil && len(candidates) == 1 {
		return Generation{}, fmt.Errorf("%w: %w", ErrNoneServable, reason)
	}
	if reason != nil {
		return Generation{}, fmt.Errorf("%w: the first of %d candidates: %w", ErrNoneServable, len(candidates), reason)
	}
	return Generation{}, ErrNoneServable
}

// Live returns the generation of dir that a server would serve if it started
// now: the pinned generation if it passes check, else the newest one that does.
// check reports why a generation is not servable; it decides how much is read.
// An unreadable pin counts as none. If no generation passes, the error wraps
// ErrNoneServable.
func Live(ctx context.Context, dir string, check func(Generation) error) (Generation, error) {
	list, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	pin, _ := ReadPin(dir)
	g, err := First(ctx, pin.Candidates(list), check)
	if err != nil {
		return Generation{}, fmt.Errorf("%s: %w", dir, err)
	}
	return g, nil
}

// Find returns the generation of dir with this ID if it has the files that a server
// of these digits needs. The error wraps ErrAbsent or ErrIncomplete.
func Find(dir string, id ID, digits Digits) (Generation, error) {
	list, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	err = fmt.Errorf("%s: %w: %s", dir, ErrAbsent, id)
	// There may be several with different numbers of shards. Like servers, Find
	// prefers the last.
	for _, g := range slices.Backward(list) {
		if g.ID != id {
			continue
		}
		if err = g.check(digits); err == nil {
			return g, nil
		}
	}
	return Generation{}, err
}

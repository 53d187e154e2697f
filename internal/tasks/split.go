package tasks

import (
	"context"
	"errors"

	"promostore/builder"
)

// A SplitResult is the result of Plan.Split.
type SplitResult struct {
	*SplitDone

	// Nothing means that the plan has no split of this index.
	Nothing bool

	// Lost means that another attempt was faster: SplitDone is its result.
	Lost bool
}

// Split sorts the split of this index into a run for each shard. An index above
// those of the plan is no error. observe may be nil.
func (p *Plan) Split(ctx context.Context, index int, opts Options, observe func(builder.Status)) (SplitResult, error) {
	return SplitResult{}, errors.ErrUnsupported
}

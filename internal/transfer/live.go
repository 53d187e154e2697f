package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"promostore/format/generation"
)

// Generations returns the generations of l that have a manifest, and those of
// which l has files only, both in ascending order.
func (l Location) Generations(ctx context.Context) (visible, hidden []generation.ID, err error) {
	have, err := l.list(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range have.ids() {
		if !slices.Contains(have.manifests, id) {
			hidden = append(hidden, id)
		}
	}
	return have.manifests, hidden, nil
}

// ErrNotLive reports that a Location has no live generation.
var ErrNotLive = errors.New("no generation is live")

// Live returns the manifest of the generation that servers serve if they have those
// of visible: the pinned one, or else the newest one. The error wraps ErrNotLive if
// there is none.
func (l Location) Live(ctx context.Context, visible []generation.ID) (Manifest, error) {
	pin, _, err := l.Pin(ctx)
	if err != nil {
		return Manifest{}, err
	}
	var list []generation.Generation
	for _, id := range slices.Backward(newestFirst(visible)) {
		list = append(list, generation.Generation{ID: id})
	}
	candidates := pin.Candidates(list)
	if len(candidates) == 0 {
		return Manifest{}, fmt.Errorf("%s: %w", l, ErrNotLive)
	}
	return l.readManifest(ctx, candidates[0].ID)
}

package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"promostore/format/generation"
)

// Check checks all fields of a manifest that was decoded. The error wraps
// ErrManifest.
func (m *Manifest) Check() error {
	id, err := generation.ParseID(m.Generation)
	if err == nil {
		err = m.check(id)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return nil
}

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

// Live returns the manifest of the generation of visible, in ascending order, that
// servers serve which have all of them: the pinned one, or else the newest one. The
// error wraps ErrNotLive if there is none.
func (l Location) Live(ctx context.Context, visible []generation.ID) (Manifest, error) {
	pin, _, err := l.Pin(ctx)
	if err != nil {
		return Manifest{}, err
	}
	list := make([]generation.Generation, len(visible))
	for i, id := range visible {
		list[i].ID = id
	}
	slices.SortFunc(list, func(a, b generation.Generation) int {
		if a.ID.Before(b.ID, time.Now()) {
			return -1
		}
		return 1
	})
	candidates := pin.Candidates(list)
	if len(candidates) == 0 {
		return Manifest{}, fmt.Errorf("%s: %w", l, ErrNotLive)
	}
	return l.readManifest(ctx, candidates[0].ID)
}

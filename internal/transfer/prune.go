package transfer

import (
	"context"
	"errors"
	"slices"
	"time"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// Prune deletes old generations from l and returns their IDs, oldest first. It
// keeps the newest keep complete generations, the pinned one, and those of spared.
// Generations that are incomplete or from the future do not count; those newer than
// the oldest one kept remain, because another Push may be sending them. Prune deletes
// nothing if fewer than keep generations are complete, or if the pin cannot be read.
func (l Location) Prune(ctx context.Context, keep int, spared ...generation.ID) (removed []generation.ID, err error) {
	have, err := l.list(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var newest, oldest generation.ID
	complete := 0
	for _, id := range slices.Backward(have.manifests) {
		if id.IsFuture(now) {
			continue
		}
		m, err := l.readManifest(ctx, id)
		if errors.Is(err, ErrManifest) || errors.Is(err, objects.ErrNotFound) || err == nil && len(have.missing(m.Files)) > 0 {
			continue
		}
		if err != nil {
			return nil, err
		}
		if complete++; complete == 1 {
			newest = id
		}
		if complete == keep {
			oldest = id
			break
		}
	}
	if complete < keep {
		return nil, nil
	}
	for _, id := range have.ids() {
		if id >= oldest || slices.Contains(spared, id) {
			continue
		}
		pin, _, err := l.Pin(ctx) // each time: a rollback may be pushed meanwhile
		if err != nil {
			return removed, err
		}
		if pin.Active && id == pin.ID && !pin.ReleasedBy(newest, now) {
			continue
		}
		if err := l.remove(ctx, id, have.files[id]); err != nil {
			return removed, err
		}
		removed = append(removed, id)
	}
	return removed, nil
}

// ids returns the generations of which c has any object, oldest first.
func (c contents) ids() []generation.ID {
	ids := slices.Clone(c.manifests)
	for id := range c.files {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// remove deletes the manifest before the files, so that no Pull begins with a
// generation that loses its files. It deletes the manifest again after them: a Push
// at the same time may have found the files and written it. A later manifest is
// that of a Push which lists the files after this.
//
// It deletes the summary before the files, because Prune finds a generation by its
// manifest and its files. The summary remains if the store does not delete it.
func (l Location) remove(ctx context.Context, id generation.ID, files []file) error {
	manifest := l.prefix + manifestName(id)
	if err := l.store.Delete(ctx, manifest); err != nil {
		return err
	}
	_ = l.store.Delete(ctx, l.prefix+generation.SummaryName(id))
	keys := make([]string, len(files))
	for i, f := range files {
		keys[i] = l.prefix + f.String()
	}
	if err := l.store.Delete(ctx, keys...); err != nil {
		return err
	}
	return l.store.Delete(ctx, manifest)
}

package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// Published is the result of Publish.
type Published struct {
	New bool // the manifest was not there before

	// Newest is the generation that nodes prefer among those with a manifest, the
	// published one included.
	Newest generation.ID
}

// Publish writes the manifest m of a generation whose files are in l already. The
// error wraps generation.ErrIncomplete if one of them is missing, and ErrConflict
// if a file has another size or l has another manifest of this generation.
func (l Location) Publish(ctx context.Context, m Manifest) (Published, error) {
	have, err := l.list(ctx)
	if err != nil {
		return Published{}, err
	}
	if err := l.checkFiles(have, m); err != nil {
		return Published{}, err
	}
	p := Published{Newest: newestFirst(append(have.manifests, m.id))[0]}
	p.New, err = l.putManifest(ctx, m)
	return p, err
}

// checkFiles checks that the files of m are there.
func (l Location) checkFiles(have contents, m Manifest) error {
	missing := &generation.IncompleteError{ID: m.id, Shards: m.Shards}
	for shard, f := range m.Files {
		size, found := have.sizes[f.Name]
		switch {
		case !found:
			missing.Missing = append(missing.Missing, shard)
		case size != f.Size:
			return fmt.Errorf("%s: %w: %d bytes, want %d", l.url(f.Name), ErrConflict, size, f.Size)
		}
	}
	if len(missing.Missing) > 0 {
		return fmt.Errorf("%s: %w", l, missing)
	}
	return nil
}

// putManifest writes m and reports whether it was absent. The same manifest may be
// there already.
func (l Location) putManifest(ctx context.Context, m Manifest) (absent bool, err error) {
	text, err := json.Marshal(m)
	if err != nil {
		return false, err
	}
	err = l.putSmall(ctx, manifestName(m.id), text, objects.IfAbsent)
	if errors.Is(err, objects.ErrExists) { // another writer was faster
		return false, l.compare(ctx, m)
	}
	return err == nil, err
}

// compare compares the manifest of the same generation with m.
func (l Location) compare(ctx context.Context, m Manifest) error {
	there, err := l.readManifest(ctx, m.id)
	if err != nil {
		return err
	}
	if there.ShardBy != m.ShardBy || !slices.Equal(there.Files, m.Files) {
		return fmt.Errorf("%s: %w", l.url(manifestName(m.id)), ErrConflict)
	}
	return nil
}

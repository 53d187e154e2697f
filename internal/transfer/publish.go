package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// PutFile writes f, the content of r, unless l has the same file. The error wraps
// ErrConflict if l has another file of this name.
func (l Location) PutFile(ctx context.Context, f File, r io.ReaderAt) error {
	_, err := l.store.Put(ctx, l.prefix+f.Name, r, f.Size, objects.IfAbsent)
	return l.compareFile(ctx, f, err)
}

// TakeFile is PutFile for a file of TempPath, which it moves, or removes if l has
// the same.
func (l Location) TakeFile(ctx context.Context, f File, temp string) error {
	defer os.Remove(temp)
	_, err := l.store.(objects.FileStore).Take(temp, l.prefix+f.Name, objects.IfAbsent)
	return l.compareFile(ctx, f, err)
}

// TempPath returns the path of a new file for TakeFile. It reports false if the
// objects of l are not files.
func (l Location) TempPath(name string) (path string, ok bool, err error) {
	store, ok := l.store.(objects.FileStore)
	if ok {
		path, err = store.TempPath(l.prefix + name)
	}
	return path, ok, err
}

// HasSize reports whether l has f in its size. It does not read it.
func (l Location) HasSize(ctx context.Context, f File) (bool, error) {
	r, err := l.open(ctx, f.Name)
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return r.Size() == f.Size, r.Close()
}

// compareFile returns putErr, the error of writing f, unless it is that l has the
// same file.
func (l Location) compareFile(ctx context.Context, f File, putErr error) error {
	if !errors.Is(putErr, objects.ErrExists) {
		return putErr
	}
	same, err := l.isSame(ctx, f)
	if err == nil && !same {
		err = fmt.Errorf("%s: %w", l.url(f.Name), ErrConflict)
	}
	return err
}

// Publish writes the manifest m of a generation whose files are in l already. It
// reports whether the manifest was absent. The error wraps generation.ErrIncomplete
// if one of the files is missing, and ErrConflict if a file has another size or l
// has another manifest of this generation.
func (l Location) Publish(ctx context.Context, m Manifest) (absent bool, err error) {
	if err := l.checkFiles(ctx, m); err != nil {
		return false, err
	}
	if absent, err = l.putManifest(ctx, m); err != nil {
		return false, err
	}
	return absent, l.checkFiles(ctx, m) // a Prune of another process may have deleted some
}

// checkFiles checks that the files of m are there.
func (l Location) checkFiles(ctx context.Context, m Manifest) error {
	have, err := l.list(ctx)
	if err != nil {
		return err
	}
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

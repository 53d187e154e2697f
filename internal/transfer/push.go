package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// ErrConflict reports that a Location has a generation of the same ID with other
// content.
var ErrConflict = errors.New("a generation of the same ID has other content")

// Pushed is the result of Push.
type Pushed struct {
	New   bool  // the manifest was not there before
	Files int   // that were sent
	Bytes int64 // that were sent
}

// Push copies a generation to l. The set must have all files, and the caller has
// verified them. The error wraps ErrConflict if l has a generation of the same ID
// with other content.
func (l Location) Push(ctx context.Context, set *generation.Set, progress Progress) (Pushed, error) {
	m, err := describe(ctx, set)
	if err != nil {
		return Pushed{}, err
	}
	have, err := l.list(ctx)
	if err != nil {
		return Pushed{}, err
	}
	exists := slices.Contains(have.manifests, m.id)
	if exists {
		if err := l.compare(ctx, m); err != nil {
			return Pushed{}, err
		}
	}
	send := m.Files
	if exists { // they were there before the manifest
		send = slices.DeleteFunc(slices.Clone(send), have.has)
	}
	p, err := l.putFiles(ctx, set, m.id, send, progress)
	if err != nil {
		return Pushed{}, err
	}
	if exists {
		return p, nil
	}
	if err := l.putSummary(ctx, filepath.Dir(set.Files[0].Name()), m.id); err != nil {
		return p, err
	}
	p.New, err = l.putManifest(ctx, m)
	return p, err
}

// describe returns the manifest of a generation. It reads all files.
func describe(ctx context.Context, set *generation.Set) (Manifest, error) {
	if len(set.Open()) != len(set.Files) {
		return Manifest{}, fmt.Errorf("%d of %d files: %w", len(set.Open()), len(set.Files), generation.ErrIncomplete)
	}
	files := make([]File, len(set.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for shard, f := range set.Files {
		g.Go(func() error {
			info, err := f.Stat()
			if err != nil {
				return err
			}
			files[shard].Size = info.Size()
			files[shard].SHA256, err = checksum(&cancelReader{ctx, io.NewSectionReader(f, 0, info.Size())})
			return err
		})
	}
	err := g.Wait()
	return NewManifest(generation.ID(set.Header.Generation), set.Header.Sharding, set.Header.Records, files), err
}

// putFiles sends the files of set that l lacks.
func (l Location) putFiles(ctx context.Context, set *generation.Set, id generation.ID, files []File, progress Progress) (Pushed, error) {
	if len(files) == 0 {
		return Pushed{}, nil
	}
	meter := progress.meter(id, files)
	var sent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, f := range files {
		g.Go(func() error {
			same, err := l.hasSame(ctx, f)
			if same || err != nil {
				meter.skip(f.Size)
				return err
			}
			name, err := generation.ParseName(f.Name)
			if err != nil {
				return err
			}
			r := meteredReaderAt{set.Files[name.Shard], meter}
			if _, err := l.store.Put(ctx, l.prefix+f.Name, r, f.Size, objects.Always); err != nil {
				return err
			}
			sent.Add(1)
			return nil
		})
	}
	err := g.Wait()
	return Pushed{Files: int(sent.Load()), Bytes: meter.moved}, err
}

// hasSame reports whether the object of f has its checksum. An interrupted Push
// may have left it, of the same generation or of another one with this ID.
func (l Location) hasSame(ctx context.Context, f File) (bool, error) {
	r, err := l.open(ctx, f.Name)
	if errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	if r.Size() != f.Size {
		return false, nil
	}
	body := r.Stream(ctx, 0, r.Size(), partsAtOnce, partLen)
	defer body.Close()
	sum, err := checksum(body)
	if errors.Is(err, objects.ErrChanged) || errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	return sum == f.SHA256, err
}

func (l Location) putSmall(ctx context.Context, name string, text []byte, cond objects.Cond) error {
	_, err := l.store.Put(ctx, l.prefix+name, bytes.NewReader(text), int64(len(text)), cond)
	return err
}

// A cancelReader fails after its context is canceled.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

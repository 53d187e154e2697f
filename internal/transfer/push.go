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

const pushRounds = 5 // of a Push whose objects another process deletes

// Push copies a generation to l. The set must have all files, and the caller has
// verified them. The error wraps ErrConflict if l has a generation of the same ID
// with other content.
func (l Location) Push(ctx context.Context, set *generation.Set, progress Progress) (p Pushed, err error) {
	m, err := describe(ctx, set)
	if err != nil {
		return p, err
	}
	// The listing after the manifest finds what a Prune of another process deleted
	// meanwhile.
	for range pushRounds {
		have, err := l.list(ctx)
		if err != nil {
			return p, err
		}
		send := m.Files
		visible := slices.Contains(have.manifests, m.id)
		if visible {
			switch err := l.compare(ctx, m); {
			case errors.Is(err, objects.ErrNotFound): // deleted after the listing
				visible = false
			case err != nil:
				return p, err
			default: // the files were there before the manifest
				send = have.missing(m.Files)
			}
		}
		if visible && len(send) == 0 {
			return p, nil
		}
		if err := l.putFiles(ctx, set, have, send, progress, &p); err != nil {
			return p, err
		}
		if visible {
			continue
		}
		l.putSummary(ctx, filepath.Dir(set.Files[0].Name()), m.id)
		written, err := l.putManifest(ctx, m)
		if err != nil && !errors.Is(err, objects.ErrNotFound) {
			return p, err
		}
		p.New = p.New || written
	}
	return p, fmt.Errorf("%s: another process deletes its objects", l.url(manifestName(m.id)))
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
			file := &files[shard]
			file.SHA256, file.Size, err = Checksum(ctx, io.NewSectionReader(f, 0, info.Size()))
			return err
		})
	}
	err := g.Wait()
	return NewManifest(generation.ID(set.Header.Generation), set.Header.Sharding, set.Header.Records, files), err
}

// putFiles sends those files of set that have lacks or has with other content, and
// adds them to p.
func (l Location) putFiles(ctx context.Context, set *generation.Set, have contents, files []File, progress Progress, p *Pushed) error {
	meter := progress.meter(generation.ID(set.Header.Generation), files)
	var sent atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, f := range files {
		g.Go(func() error {
			if have.has(f) {
				same, err := l.hasSame(ctx, f)
				if same || err != nil {
					meter.skip(f.Size)
					return err
				}
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
	p.Files += int(sent.Load())
	p.Bytes += meter.moved
	return err
}

// hasSame reports whether l has an object of f with its checksum. An interrupted Push
// may have left it, of the same generation or of another one with this ID.
func (l Location) hasSame(ctx context.Context, f File) (bool, error) {
	same, err := l.isSame(ctx, f)
	if errors.Is(err, objects.ErrChanged) || errors.Is(err, objects.ErrNotFound) {
		return false, nil
	}
	return same, err
}

// isSame reports whether the object of f has its checksum.
func (l Location) isSame(ctx context.Context, f File) (bool, error) {
	r, err := l.open(ctx, f.Name)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if r.Size() != f.Size {
		return false, nil
	}
	body := r.Stream(ctx, 0, r.Size(), partsAtOnce, partLen)
	defer body.Close()
	sum, _, err := Checksum(ctx, body)
	return sum == f.SHA256, err
}

func (l Location) putSmall(ctx context.Context, name string, text []byte, cond objects.Cond) error {
	_, err := l.store.Put(ctx, l.prefix+name, bytes.NewReader(text), int64(len(text)), cond)
	return err
}

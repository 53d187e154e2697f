package reader

import (
	"context"
	"errors"
	"fmt"
	"os"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// ErrForeign reports a lookup of an id of a shard that a server of some digits
// does not serve. The id may exist.
var ErrForeign = errors.New("id of a shard that is not served here")

// A Generation holds the open files of a generation: one for each shard that a
// server owns. A Store opens the live one and lends it to requests; see
// Store.Acquire. All methods are safe for concurrent use.
type Generation struct {
	files  []*File       // by shard; nil: of a shard that is not owned
	owned  []*File       // the others, by shard
	header format.Header // of the owned shards together
	ring   *ring         // of all files; nil: none
	lease  *lease        // set when the generation becomes live
}

// openGeneration opens the files of g that a server of these digits owns, and
// checks that g is servable, except for its blocks. It sets the identities of files
// before they are opened, by path.
func openGeneration(g generation.Generation, digits generation.Digits, access Access, identities map[string]fsx.Identity) (*Generation, error) {
	files, err := generation.Open(g, digits, func(path string) (*File, error) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		identities[path] = fsx.IdentityOf(info)
		return openIndex(path)
	})
	if err != nil {
		return nil, err
	}
	opened := &Generation{files: files}
	var headers []*format.Header
	for _, f := range files {
		if f != nil {
			opened.owned = append(opened.owned, f)
			headers = append(headers, f.Header())
			f.index.Styles = opened.Styles() // the same; 4,096 copies may take much memory
		}
	}
	opened.header = generation.Sum(headers...)
	if err := opened.openBlocks(access.resolve(opened.header.FileLen)); err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return opened, nil
}

// openBlocks makes g ready for lookups.
func (g *Generation) openBlocks(access Access) error {
	if access == AccessPread {
		g.ring = openRing()
	}
	for _, f := range g.owned {
		if err := f.openBlocks(access, g.ring); err != nil {
			return &generation.FileError{Path: f.path, Err: generation.AdviseOpen(err)}
		}
	}
	return nil
}

// close closes all files.
func (g *Generation) close() error {
	var errs []error
	for _, f := range g.owned {
		errs = append(errs, f.Close())
	}
	return errors.Join(append(errs, g.ring.close())...)
}

// verify verifies all files with that many goroutines. progress is that of
// File.Verify, for all files together.
func (g *Generation) verify(ctx context.Context, workers int, progress func(done, size int64)) error {
	before, size := int64(0), int64(0)
	for _, f := range g.owned {
		size += f.blockBytes()
	}
	for _, f := range g.owned {
		err := f.verify(ctx, workers, func(done, _ int64) {
			if progress != nil {
				progress(before+done, size)
			}
		})
		if err != nil {
			return &generation.FileError{Path: f.path, Err: fmt.Errorf("%s: %w", f.path, err)}
		}
		before += f.blockBytes()
	}
	return nil
}

// warm maps the pages that verify has read; see File.warm.
func (g *Generation) warm(ctx context.Context) error {
	for _, f := range g.owned {
		if err := f.warm(ctx); err != nil {
			return &generation.FileError{Path: f.path, Err: fmt.Errorf("%s: %w", f.path, err)}
		}
	}
	return nil
}

// ID returns the ID of the generation.
func (g *Generation) ID() generation.ID { return generation.ID(g.header.Generation) }

// Header returns the header of the owned shards together: the sums of their
// counts and lengths, the lowest and the highest id. The caller must not change it.
func (g *Generation) Header() *format.Header { return &g.header }

// Sharding returns how the generation is divided into shards.
func (g *Generation) Sharding() format.Sharding { return g.header.Sharding }

// Styles returns the dictionary of timestamp styles, which all files share. The
// caller must not change it.
func (g *Generation) Styles() []format.TimestampStyle { return g.owned[0].Styles() }

// Access returns AccessMmap or AccessPread, which holds for all files.
func (g *Generation) Access() Access { return g.owned[0].Access() }

// UsesRing reports whether lookups that miss the page cache are read through
// io_uring; see File.UsesRing.
func (g *Generation) UsesRing() bool { return g.owned[0].UsesRing() }

// File returns the only file that can hold the record of key, or nil if its shard
// is not owned.
func (g *Generation) File(key format.Key) *File { return g.files[g.header.ShardOf(key)] }

// Owns reports whether g has the file that can hold the record of key.
func (g *Generation) Owns(key format.Key) bool { return g.File(key) != nil }

// Get returns a copy of the record of key, like File.Get. The error wraps
// ErrForeign if the shard of key is not owned.
func (g *Generation) Get(key format.Key) (r format.Record, found bool, err error) {
	f := g.File(key)
	if f == nil {
		return format.Record{}, false, foreign(key)
	}
	return f.Get(key)
}

// foreign returns the error for a key of a shard that is not owned.
func foreign(key format.Key) error { return &lookupError{key: key, err: ErrForeign} }

// A lookupError is an error of a lookup. It names the file, so that a Store
// knows which file of a generation is bad.
type lookupError struct {
	file *File // nil: the shard is not owned
	key  format.Key
	err  error
}

func (e *lookupError) Error() string { return fmt.Sprintf("lookup of %s: %v", e.key, e.err) }
func (e *lookupError) Unwrap() error { return e.err }

// failedFile returns the file whose lookup returned err.
func failedFile(err error) *File {
	var e *lookupError
	if !errors.As(err, &e) || e.file == nil {
		panic(fmt.Sprintf("BUG: not an error of a file: %v", err))
	}
	return e.file
}

package reader

import (
	"context"
	"errors"
	"fmt"

	"promostore/format"
	"promostore/format/generation"
)

// A Generation holds the open files of a generation. A Store opens the live one
// and lends it to requests; see Store.Acquire. All methods are safe for
// concurrent use.
type Generation struct {
	id    generation.ID
	files []*File
	lease *lease // set when the generation becomes live
}

var errSharded = errors.New("split into several shards, which are not supported")

// openGeneration opens the file of g and checks that g is servable, except for
// its blocks.
func openGeneration(g generation.Generation, access Access) (*Generation, error) {
	if g.Shards > 1 && g.Complete() {
		return nil, fmt.Errorf("generation %s: %w", g.ID, errSharded)
	}
	files, err := generation.Open(g, generation.AllDigits, func(path string) (*File, error) { return Open(path, access) })
	if err != nil {
		return nil, err
	}
	return &Generation{id: g.ID, files: files}, nil
}

// close closes all files.
func (g *Generation) close() error {
	var err error
	for _, f := range g.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// verify verifies all files with that many goroutines. progress is that of
// File.Verify, for all files together. The error names the path of a bad file.
func (g *Generation) verify(ctx context.Context, workers int, progress func(done, size int64)) error {
	var size int64
	for _, f := range g.files {
		size += f.blockBytes()
	}
	var before int64
	for _, f := range g.files {
		err := f.verify(ctx, workers, func(done, _ int64) {
			if progress != nil {
				progress(before+done, size)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
		before += f.blockBytes()
	}
	return nil
}

// warm maps the pages that verify has read; see File.warm.
func (g *Generation) warm(ctx context.Context) error {
	for _, f := range g.files {
		if err := f.warm(ctx); err != nil {
			return fmt.Errorf("%s: %w", f.path, err)
		}
	}
	return nil
}

// ID returns the ID of the generation.
func (g *Generation) ID() generation.ID { return g.id }

// Header returns the header of the generation, with the sums over its files. The
// caller must not change it.
func (g *Generation) Header() *format.Header { return g.files[0].Header() }

// Styles returns the dictionary of timestamp styles, which all files share. The
// caller must not change it.
func (g *Generation) Styles() []format.TimestampStyle { return g.files[0].Styles() }

// Access returns AccessMmap or AccessPread.
func (g *Generation) Access() Access { return g.files[0].Access() }

// UsesRing reports whether lookups that miss the page cache are read through
// io_uring; see File.UsesRing.
func (g *Generation) UsesRing() bool { return g.files[0].UsesRing() }

// File returns the file that holds the record of key, if there is one.
func (g *Generation) File(format.Key) *File { return g.files[0] }

// Get returns a copy of the record of key, like File.Get.
func (g *Generation) Get(key format.Key) (r format.Record, found bool, err error) {
	return g.File(key).Get(key)
}

// GetBatch looks up keys, like File.GetBatch.
func (g *Generation) GetBatch(keys []format.Key, records []format.Record, found []bool) error {
	return g.files[0].GetBatch(keys, records, found)
}

// A lookupError is an error of a lookup. It names the file, so that a Store
// knows which file of a generation is bad.
type lookupError struct {
	file *File
	key  format.Key
	err  error
}

func (e *lookupError) Error() string { return fmt.Sprintf("lookup of %s: %v", e.key, e.err) }
func (e *lookupError) Unwrap() error { return e.err }

// failedFile returns the file whose lookup returned err.
func failedFile(err error) *File {
	var e *lookupError
	if !errors.As(err, &e) {
		panic(fmt.Sprintf("BUG: not an error of a lookup: %v", err))
	}
	return e.file
}

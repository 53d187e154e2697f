package generation

import (
	"context"
	"errors"
	"fmt"
	"os"

	"promostore/format"
	"promostore/internal/fsx"
)

var (
	// ErrIncomplete reports that a file of the generation is missing.
	ErrIncomplete = errors.New("incomplete")

	// ErrSharded reports that a complete generation has more than one file.
	ErrSharded = errors.New("split into several shards, which are not supported")

	// ErrMisnamed reports that a header names another generation or shard than
	// the file name.
	ErrMisnamed = errors.New("the header contradicts the file name")

	// ErrAbsent reports that a directory lacks the wanted generation.
	ErrAbsent = errors.New("no such generation")

	// ErrNoneServable reports that no generation of a directory is servable.
	ErrNoneServable = errors.New("no servable generation")
)

// A File is an open file of a generation.
type File interface {
	Header() *format.Header
	Close() error
}

// Open opens the file of g and checks conditions 1 and 4 of a servable
// generation. The function open checks conditions 2 and 3, and the caller
// verifies the blocks. The error wraps ErrIncomplete, ErrSharded or ErrMisnamed,
// or is an error of open.
func Open[F File](g Generation, open func(path string) (F, error)) (F, error) {
	var none F
	if err := g.checkFiles(); err != nil {
		return none, err
	}
	path := g.Files[0]
	f, err := open(path)
	if err != nil {
		return none, err
	}
	if err := (Name{ID: g.ID, Shards: g.Shards}).CheckHeader(f.Header()); err != nil {
		return none, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

// checkFiles checks that g is complete and has one file.
func (g Generation) checkFiles() error {
	if !g.Complete() {
		return fmt.Errorf("generation %s: %w: %d of %d files", g.ID, ErrIncomplete, len(g.Files), g.Shards)
	}
	if g.Shards != 1 {
		return fmt.Errorf("generation %s: %w: %d files", g.ID, ErrSharded, g.Shards)
	}
	return nil
}

// CheckHeader checks that the header of a file names the same generation and
// shard as the file name n. The error wraps ErrMisnamed.
func (n Name) CheckHeader(h *format.Header) error {
	if got := (Name{ID: ID(h.Generation), Shard: int(h.Shard), Shards: int(h.Shards)}); got != n {
		return fmt.Errorf("%w: it names %s", ErrMisnamed, got)
	}
	return nil
}

// Header checks conditions 1 to 4 of a servable generation and returns the header
// of g. It reads 20 bytes for each block.
func (g Generation) Header() (format.Header, error) {
	f, err := g.OpenIndex()
	if err != nil {
		return format.Header{}, err
	}
	defer f.Close()
	return f.Index.Header, nil
}

// Verify checks all conditions of a servable generation. It reads the whole file
// in one goroutine;
// reader.VerifyGeneration uses all processors.
func (g Generation) Verify(ctx context.Context) error {
	f, err := g.OpenIndex()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Index.Verify(f.File, func(int64) error { return ctx.Err() }); err != nil {
		return fmt.Errorf("%s: %w", g.Files[0], err)
	}
	return nil
}

// An Indexed is an open file with its index.
type Indexed struct {
	*os.File
	Index *format.Index
}

// Header returns the header of the file.
func (f Indexed) Header() *format.Header { return &f.Index.Header }

// OpenIndex checks conditions 1 to 4 of a servable generation and returns the
// file of g, which the caller closes. It reads 20 bytes for each block.
func (g Generation) OpenIndex() (Indexed, error) { return Open(g, openIndexed) }

// openIndexed opens a regular file and checks everything except its blocks.
func openIndexed(path string) (Indexed, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return Indexed{}, err
	}
	var x *format.Index
	info, err := f.Stat()
	if err == nil {
		x, err = format.Open(f, info.Size())
	}
	if err != nil {
		f.Close()
		return Indexed{}, fmt.Errorf("%s: %w", path, err)
	}
	return Indexed{f, x}, nil
}

// First returns the first of candidates that passes check, which reports why a
// generation is not servable. If none passes, the error wraps ErrNoneServable
// and the error of the first candidate.
func First(ctx context.Context, candidates []Generation, check func(Generation) error) (Generation, error) {
	var reason error
	for _, g := range candidates {
		err := check(g)
		switch {
		case ctx.Err() != nil:
			return Generation{}, context.Cause(ctx)
		case err == nil:
			return g, nil
		case reason == nil:
			reason = err
		}
	}
	if reason != nil && len(candidates) == 1 {
		return Generation{}, fmt.Errorf("%w: %w", ErrNoneServable, reason)
	}
	if reason != nil {
		return Generation{}, fmt.Errorf("%w: the first of %d candidates: %w", ErrNoneServable, len(candidates), reason)
	}
	return Generation{}, ErrNoneServable
}

// Live returns the generation of dir that a server would serve if it started
// now: the pinned generation if it passes check, else the newest one that does.
// check reports why a generation is not servable; it decides how much is read.
// An unreadable pin counts as none. If no generation passes, the error wraps
// ErrNoneServable.
func Live(ctx context.Context, dir string, check func(Generation) error) (Generation, error) {
	list, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	pin, _ := ReadPin(dir)
	g, err := First(ctx, pin.Candidates(list), check)
	if err != nil {
		return Generation{}, fmt.Errorf("%s: %w", dir, err)
	}
	return g, nil
}

// Find returns the generation of dir with this ID if it is complete and of one
// file. The error wraps ErrAbsent, ErrIncomplete or ErrSharded.
func Find(dir string, id ID) (Generation, error) {
	list, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	err = fmt.Errorf("%s: %w: %s", dir, ErrAbsent, id)
	for _, g := range list { // there may be several with different numbers of shards
		if g.ID != id {
			continue
		}
		if err = g.checkFiles(); err == nil {
			return g, nil
		}
	}
	return Generation{}, err
}

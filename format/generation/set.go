package generation

import (
	"context"
	"errors"
	"fmt"
	"os"

	"promostore/format"
	"promostore/internal/fsx"
)

// A Set holds the open files of a complete generation.
type Set struct {
	Files  []Indexed     // by shard
	Header format.Header // of the generation, see Sum
}

// OpenIndex checks conditions 1 to 4 and 6 of a servable generation and opens its
// files, which the caller closes. It reads 20 bytes for each block.
func (g Generation) OpenIndex() (*Set, error) {
	files, err := Open(g, AllDigits, openIndexed)
	if err != nil {
		return nil, err
	}
	headers := make([]*format.Header, len(files))
	for i, f := range files {
		headers[i] = f.Header()
	}
	return &Set{files, Sum(headers...)}, nil
}

// Styles returns the dictionary, which all files have. The caller must not change
// it.
func (s *Set) Styles() []format.TimestampStyle { return s.Files[0].Styles() }

// Close closes the files.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.Files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Header checks conditions 1 to 4 and 6 of a servable generation and returns the
// header of g, see Sum. It reads 20 bytes for each block.
func (g Generation) Header() (format.Header, error) {
	s, err := g.OpenIndex()
	if err != nil {
		return format.Header{}, err
	}
	return s.Header, s.Close()
}

// Verify checks all conditions of a servable generation. It reads the files in
// one goroutine; reader.VerifyGeneration uses all processors.
func (g Generation) Verify(ctx context.Context) error {
	s, err := g.OpenIndex()
	if err != nil {
		return err
	}
	defer s.Close()
	for _, f := range s.Files {
		if err := f.verify(ctx); err != nil {
			return err
		}
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

// Styles returns the dictionary of the file.
func (f Indexed) Styles() []format.TimestampStyle { return f.Index.Styles }

// verify checks the blocks.
func (f Indexed) verify(ctx context.Context) error {
	if err := f.Index.Verify(f.File, func(int64) error { return ctx.Err() }); err != nil {
		return &FileError{f.Name(), fmt.Errorf("%s: %w", f.Name(), err)}
	}
	return nil
}

// openShard opens the file of a shard and checks conditions 2 to 4.
func (g Generation) openShard(shard int) (Indexed, error) {
	path := g.Path(shard)
	f, err := openIndexed(path)
	if err != nil {
		return Indexed{}, &FileError{path, err}
	}
	if err := g.checkHeader(shard, f.Header()); err != nil {
		return Indexed{}, errors.Join(err, f.Close())
	}
	return f, nil
}

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

// Sum returns the header of a generation or of some of its shards: the sums of
// the counts and lengths, and the lowest and the highest id. The other fields are
// those of the first header.
func Sum(headers ...*format.Header) format.Header {
	var sum format.Header
	for i, h := range headers {
		if i == 0 {
			sum = format.Header{Version: h.Version, Sharding: h.Sharding, Generation: h.Generation}
		}
		if h.Records > 0 && (sum.Records == 0 || h.MinKey.Less(sum.MinKey)) {
			sum.MinKey = h.MinKey
		}
		if h.Records > 0 && (sum.Records == 0 || sum.MaxKey.Less(h.MaxKey)) {
			sum.MaxKey = h.MaxKey
		}
		sum.Records += h.Records
		sum.Rows += h.Rows
		sum.Duplicates += h.Duplicates
		sum.BadRows += h.BadRows
		sum.FileLen += h.FileLen
	}
	return sum
}

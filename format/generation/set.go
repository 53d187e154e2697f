package generation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"promostore/format"
	"promostore/internal/fsx"
)

// A Set holds the open files of a generation, or of some of its shards.
type Set struct {
	Files  []Indexed     // by shard; zero for shards that are not open
	Header format.Header // see Sum
}

// OpenIndex opens all files of g, see OpenSet.
func (g Generation) OpenIndex() (*Set, error) { return g.OpenSet(AllDigits) }

// OpenSet opens the files of g that a server of these digits needs, and checks
// conditions 1 to 4 and 6 of a servable generation. The caller closes the Set.
// OpenSet reads 20 bytes for each block.
func (g Generation) OpenSet(digits Digits) (*Set, error) {
	files, err := Open(g, digits, openIndexed)
	if err != nil {
		return nil, err
	}
	return newSet(files), nil
}

// OpenFile opens one file of a generation, and checks everything but its blocks.
// If the name of the file is that of a generation, the header must agree with it.
func OpenFile(path string) (*Set, error) {
	f, err := openIndexed(path)
	if err != nil {
		return nil, err
	}
	if name, err := ParseName(filepath.Base(path)); err == nil {
		if err := name.CheckHeader(f.Header()); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}
	files := make([]Indexed, f.Header().Shards)
	files[f.Header().Shard] = f
	return newSet(files), nil
}

func newSet(files []Indexed) *Set {
	s := &Set{Files: files}
	var headers []*format.Header
	for _, f := range s.Open() {
		headers = append(headers, f.Header())
	}
	s.Header = Sum(headers...)
	return s
}

// Open returns the open files of s.
func (s *Set) Open() (files []Indexed) {
	for _, f := range s.Files {
		if f.File != nil {
			files = append(files, f)
		}
	}
	return files
}

// Styles returns the dictionary, which all files have. The caller must not change
// it.
func (s *Set) Styles() []format.TimestampStyle {
	for _, f := range s.Files {
		if f.File != nil {
			return f.Styles()
		}
	}
	return nil
}

// Close closes the files.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.Open() {
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
// one goroutine.
func (g Generation) Verify(ctx context.Context) error {
	s, err := g.OpenIndex()
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Verify(ctx, 1, nil)
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
		return f.defect(err)
	}
	return nil
}

// defect returns err, an error of reading f, with the path.
func (f Indexed) defect(err error) error {
	return &FileError{f.Name(), fmt.Errorf("%s: %w", f.Name(), err)}
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

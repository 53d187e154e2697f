package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"promostore/internal/fsx"
)

// A dir is a Store of the regular files below a directory.
type dir struct {
	root string

	mu    sync.Mutex
	swept map[string]bool // directories without old temporary files
}

func newDir(root string) *dir { return &dir{root: root, swept: map[string]bool{}} }

// splitPath divides a clean path into the root of a dir and a key. The root of a
// relative path is "." or the leading ".." elements, which a key must not have.
func splitPath(p string) (root, key string) {
	if filepath.IsAbs(p) {
		return "/", strings.TrimPrefix(p, "/")
	}
	root = "."
	for p == ".." || strings.HasPrefix(p, "../") {
		root = filepath.Join(root, "..")
		p = strings.TrimPrefix(strings.TrimPrefix(p, ".."), "/")
	}
	if p == "." {
		p = ""
	}
	return root, p
}

func (d *dir) URL(key string) string { return filepath.Join(d.root, filepath.FromSlash(key)) }

// path returns the path of a key. Keys that lead out of the root are invalid.
func (d *dir) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." {
		return "", fmt.Errorf("%q is not a key of %s", key, d.root)
	}
	return d.URL(key), nil
}

// List reads one directory after the other. It passes over temporary files of
// Put, and follows symbolic links to files only.
func (d *dir) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		sub, base := path.Split(prefix)
		if sub != "" && !fs.ValidPath(strings.TrimSuffix(sub, "/")) {
			yield(Object{}, fmt.Errorf("%q is not a prefix of keys of %s", prefix, d.root))
			return
		}
		d.list(ctx, sub, base, yield)
	}
}

// list yields the files below sub, which is empty or ends with a slash, whose
// path from there begins with base. It reports whether to go on.
func (d *dir) list(ctx context.Context, sub, base string, yield func(Object, error) bool) bool {
	entries, err := os.ReadDir(d.URL(sub))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true
	}
	if err != nil {
		return yield(Object{}, err) && false
	}
	// The slash of a directory takes part in the order of keys: a-b precedes a/b.
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(element(a), element(b)) })
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), base) || isTemp(e.Name()) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return yield(Object{}, context.Cause(ctx)) && false
		}
		if e.IsDir() {
			if !d.list(ctx, sub+e.Name()+"/", "", yield) {
				return false
			}
			continue
		}
		info, err := os.Stat(d.URL(sub + e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or a broken link
		case err != nil:
			return yield(Object{}, err) && false
		case info.Mode().IsRegular():
			if !yield(object(sub+e.Name(), info), nil) {
				return false
			}
		}
	}
	return true
}

// Dirs does not follow symbolic links.
func (d *dir) Dirs(_ context.Context, dir string) (names []string, err error) {
	p := d.URL("")
	if dir != "" {
		if p, err = d.path(strings.TrimSuffix(dir, "/")); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(p) // sorted
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func element(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func object(key string, info fs.FileInfo) Object {
	return Object{Key: key, Size: info.Size(), ETag: fileETag(info), Modified: info.ModTime()}
}

// fileETag identifies the content of a file by its size and modification time. It is
// the same on all machines that mount the directory. A file with both of another one
// has its ETag: some network file systems number the inodes on each machine, and a
// new link updates the change time, so neither is part of it.
func fileETag(info fs.FileInfo) string {
	return fmt.Sprintf("%x-%x", info.Size(), info.ModTime().UnixNano())
}

func (d *dir) Open(ctx context.Context, key string) (*Reader, error) {
	p, err := d.path(key)
	if err != nil {
		return nil, err
	}
	f, err := fsx.OpenRegular(p)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Reader{ctx: ctx, object: object(key, info), src: &file{f, fileETag(info)}}, nil
}

// A file reads ranges of an open file.
type file struct {
	*os.File
	etag string
}

// readRange reads len(p) bytes at off. The file may be written during the read,
// so that it is compared with its ETag afterwards.
func (f *file) readRange(ctx context.Context, p []byte, off int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	_, err := f.ReadAt(p, off)
	if info, statErr := f.Stat(); statErr == nil && fileETag(info) != f.etag {
		return fmt.Errorf("%s: %w", f.Name(), ErrChanged)
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", f.Name(), io.ErrUnexpectedEOF)
	}
	return err
}

func (d *dir) Delete(_ context.Context, keys ...string) error {
	var errs []error
	for _, key := range keys {
		p, err := d.path(key)
		if err == nil {
			err = os.Remove(p)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

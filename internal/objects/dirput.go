package objects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"promostore/internal/fsx"
)

// Names of temporary files are .put-RANDOM.tmp.
const (
	tempPrefix = ".put-"
	tempSuffix = ".tmp"
)

func isTemp(name string) bool {
	return strings.HasPrefix(name, tempPrefix) && strings.HasSuffix(name, tempSuffix)
}

// Put writes a temporary file beside the object, syncs it and gives it its name.
// It creates missing directories.
func (d *dir) Put(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond) (etag string, err error) {
	temp, err := d.TempPath(key)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer os.Remove(temp)
	defer f.Close()
	if err := errors.Join(f.Chmod(0o644), copyTo(ctx, f, r, size), f.Sync()); err != nil {
		return "", err
	}
	return d.Take(temp, key, cond)
}

// TempPath creates missing directories, and removes old temporary files.
func (d *dir) TempPath(key string) (string, error) {
	p, err := d.path(key)
	if err != nil {
		return "", err
	}
	parent := filepath.Dir(p)
	if err := makeDirs(parent); err != nil {
		return "", err
	}
	d.sweep(parent)
	return filepath.Join(parent, tempPrefix+rand.Text()+tempSuffix), nil
}

func (d *dir) Take(temp, key string, cond Cond) (etag string, err error) {
	p, err := d.path(key)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(temp)
	if err != nil {
		return "", err
	}
	if err := rename(temp, p, cond); err != nil {
		return "", err
	}
	return fileETag(info), fsx.SyncDir(filepath.Dir(p))
}

// tempAge is the age at which a temporary file is that of a Put that was killed. A
// running Put writes its file all the time; a merge that has written it reads it for
// minutes. A lock would show more, but not on all network file systems.
const tempAge = 24 * time.Hour

// sweep removes old temporary files, once for each directory.
func (d *dir) sweep(parent string) {
	d.mu.Lock()
	done := d.swept[parent]
	d.swept[parent] = true
	d.mu.Unlock()
	if done {
		return
	}
	entries, _ := os.ReadDir(parent) // a failure does not prevent the Put
	for _, e := range entries {
		if info, err := e.Info(); isTemp(e.Name()) && err == nil && time.Since(info.ModTime()) > tempAge {
			os.Remove(filepath.Join(parent, e.Name()))
		}
	}
}

// copyTo copies size bytes, and fails if r has fewer.
func copyTo(ctx context.Context, w io.Writer, r io.ReaderAt, size int64) error {
	const part = 1 << 20 // a canceled context ends a copy within a part
	for off := int64(0); off < size; off += part {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		want := min(part, size-off)
		n, err := io.Copy(w, io.NewSectionReader(r, off, want))
		if err != nil {
			return err
		}
		if n < want {
			return fmt.Errorf("source has %d bytes, want %d: %w", off+n, size, io.ErrUnexpectedEOF)
		}
	}
	return nil
}

// rename gives a temporary file its name. A new link fails atomically if the name
// exists; RENAME_NOREPLACE does so too where there are no links, but not in NFS.
func rename(temp, p string, cond Cond) error {
	if cond == Always {
		return os.Rename(temp, p)
	}
	err := os.Link(temp, p)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = unix.Renameat2(unix.AT_FDCWD, temp, unix.AT_FDCWD, p, unix.RENAME_NOREPLACE)
	}
	if errors.Is(err, fs.ErrExist) {
		if sameFile(temp, p) { // NFS repeats a request whose answer was lost
			return nil
		}
		return fmt.Errorf("%s: %w", p, ErrExists)
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: p, Err: err}
	}
	return nil
}

// sameFile reports whether two paths are links to one file.
func sameFile(a, b string) bool {
	infoA, errA := os.Lstat(a)
	infoB, errB := os.Lstat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// makeDirs creates a directory and its missing parents, durably.
func makeDirs(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsx.SyncDir(parent)
}

package fsx

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Dir is an open directory whose entries other users may replace at any time.
// Its methods take the name of an entry, not a path, and follow no symbolic
// link. They use the directory that was opened, wherever its path leads later.
// Safe for concurrent use.
type Dir struct {
	f    *os.File // for renames between directories
	root *os.Root // the same directory
}

// OpenDir opens a directory. It follows links in path.
func OpenDir(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Dir{f, root}, nil
}

// Sub opens the directory name in d, and creates it first if nothing has that
// name.
func (d *Dir) Sub(name string) (*Dir, error) {
	err := d.root.Mkdir(name, 0o755)
	if err != nil && !os.IsExist(err) {
		return nil, err
	}
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		f.Close()
		return nil, err
	}
	sub := &Dir{f, root}
	if opened, err := root.Stat("."); err != nil || !sub.Is(opened) { // replaced in between
		sub.Close()
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: unix.ESTALE}
	}
	return sub, nil
}

// Is reports whether info describes d.
func (d *Dir) Is(info fs.FileInfo) bool {
	own, err := d.f.Stat()
	return err == nil && os.SameFile(own, info)
}

// Name returns the path that d was opened with.
func (d *Dir) Name() string { return d.root.Name() }

func (d *Dir) path(name string) string { return d.Name() + "/" + name }

// open opens an entry. It fails with ELOOP for a symbolic link.
func (d *Dir) open(name string, flags int, perm uint32) (*os.File, error) {
	if strings.Contains(name, "/") {
		return nil, &os.PathError{Op: "open", Path: d.path(name), Err: unix.EINVAL}
	}
	fd, err := unix.Openat(int(d.f.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, perm)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: d.path(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.path(name)), nil
}

// OpenRegular opens a regular file for reading, like the function of that name.
// A symbolic link is not a regular file.
func (d *Dir) OpenRegular(name string) (*os.File, error) {
	return d.regular(d.open(name, unix.O_RDONLY, 0))
}

// OpenOrCreate opens a regular file for reading and writing.
func (d *Dir) OpenOrCreate(name string, perm fs.FileMode) (*os.File, error) {
	return d.regular(d.open(name, unix.O_RDWR|unix.O_CREAT, uint32(perm.Perm())))
}

// Create creates a file, which must not exist, and opens it for writing.
func (d *Dir) Create(name string, perm fs.FileMode) (*os.File, error) {
	return d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(perm.Perm()))
}

// regular adds ErrNotRegular to an error of open, and closes f if it is no
// regular file.
func (d *Dir) regular(f *os.File, err error) (*os.File, error) {
	if path, ok := err.(*os.PathError); ok && path.Err == unix.ELOOP { //nolint:errorlint // an error of open
		path.Err = fmt.Errorf("%w: %w", ErrNotRegular, unix.ELOOP)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: f.Name(), Err: fmt.Errorf("%w: %s", ErrNotRegular, info.Mode())}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Lstat describes an entry.
func (d *Dir) Lstat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }

// Remove removes a file or an empty directory.
func (d *Dir) Remove(name string) error { return d.root.Remove(name) }

// Files describes the regular files in d, sorted by name.
func (d *Dir) Files() ([]fs.FileInfo, error) {
	f, err := d.root.Open(".") // a descriptor of its own, at the first entry
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var list []fs.FileInfo
	for _, e := range entries {
		if t := e.Type(); !t.IsRegular() && t != fs.ModeIrregular {
			continue
		}
		info, err := d.Lstat(e.Name())
		if os.IsNotExist(err) { // removed after ReadDir
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() {
			list = append(list, info)
		}
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Rename moves an entry to another directory and makes that durable. It
// replaces nothing: the error is fs.ErrExist if newName exists.
func (d *Dir) Rename(name string, to *Dir, newName string) error {
	from, dest := int(d.f.Fd()), int(to.f.Fd())
	err := unix.Renameat2(from, name, dest, newName, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS { //nolint:errorlint // a system call; NFS has no RENAME_NOREPLACE
		if _, statErr := to.Lstat(newName); statErr == nil {
			err = unix.EEXIST
		} else {
			err = unix.Renameat(from, name, dest, newName)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: d.path(name), New: to.path(newName), Err: err}
	}
	if err := to.f.Sync(); err != nil {
		return err
	}
	return d.f.Sync()
}

// Close closes d.
func (d *Dir) Close() error {
	d.root.Close()
	return d.f.Close()
}

// Package fsx adds what package os lacks for files that appear, change and
// disappear while a server runs: opening without blocking, syncing a directory,
// the space of a file system, and the identity of a file.
package fsx

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrNotRegular reports that a path names a directory, a pipe or a device
// where a regular file is required.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens a regular file for reading. The error wraps ErrNotRegular
// if path names anything else. A pipe without a writer does not block it.
func OpenRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w: %s", ErrNotRegular, kindOf(info.Mode()))}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// IsTooManyOpen reports whether err is about the limit on open files, of the process
// or of the machine, and so not about the file that was opened.
func IsTooManyOpen(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// kindOf names the kind of a file that is not regular.
func kindOf(mode os.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&os.ModeNamedPipe != 0:
		return "pipe"
	case mode&os.ModeSocket != 0:
		return "socket"
	case mode&os.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// SyncDir makes earlier creations, renames and removals in dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"promostore/cmd/internal/program"
)

// A rejectsFile receives the bad rows. The first Write opens it, for three
// reasons. A build that fails earlier leaves no file. A build that is refused
// because another one is running does not truncate the rejects of that build.
// Opening a named pipe without a reader blocks only a Write.
type rejectsFile struct {
	path string
	file atomic.Pointer[os.File] // nil before the first Write
}

// newRejects returns the rejects file with the given path. It is a usage error if
// the file is one of the inputs, which are arguments of the command line. A file
// that cannot be written is an error at once: the first Write follows only after
// the input was read.
func newRejects(path string, inputs []string, stdin io.Reader) (*rejectsFile, error) {
	if err := checkWritable(path); err != nil {
		return nil, fmt.Errorf("--rejects %s: %w", path, denied(err))
	}
	rejects, err := os.Stat(path)
	if err != nil || !rejects.Mode().IsRegular() { // there is no content to overwrite
		return &rejectsFile{path: path}, nil
	}
	for _, input := range inputs {
		st, err := statInput(input, stdin)
		if err == nil && os.SameFile(st, rejects) {
			return nil, program.Usagef("--rejects %s would overwrite the input %s", path, input)
		}
	}
	return &rejectsFile{path: path}, nil
}

// checkWritable returns an error if the file with this path can be neither written
// nor created.
func checkWritable(path string) error {
	switch {
	case isDir(path):
		return syscall.EISDIR
	case exists(path):
		return unix.Access(path, unix.W_OK)
	}
	return checkWritableDir(filepath.Dir(path))
}

func statInput(input string, stdin io.Reader) (os.FileInfo, error) {
	if input != "-" {
		return os.Stat(input)
	}
	if f, ok := stdin.(*os.File); ok {
		return f.Stat()
	}
	return nil, fmt.Errorf("%s: %w", standardInputName, os.ErrInvalid)
}

// Write writes to the file. The first Write truncates it.
func (r *rejectsFile) Write(p []byte) (int, error) {
	f := r.file.Load()
	if f == nil {
		var err error
		// os.Create opens for reading too, so that a named pipe would have a reader.
		if f, err = os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			return 0, err
		}
		r.file.Store(f)
	}
	return f.Write(p)
}

// Close closes the file. It may be called during a Write that blocks, and ends it
// where the system can.
func (r *rejectsFile) Close() error {
	if f := r.file.Load(); f != nil {
		return f.Close()
	}
	return nil
}

package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// A rejectsFile is where the bad rows go. The first Write opens it: a build
// that fails before leaves no file behind, a build that is refused because of
// another does not cut off the other's rejects, and a named pipe that nobody
// reads holds up only who writes to it.
type rejectsFile struct {
	path string
	file atomic.Pointer[os.File] // nil before the first Write
}

// newRejects makes sure that the file with this path is none of the inputs,
// which are those of the command line.
func newRejects(path string, inputs []string, stdin io.Reader) (*rejectsFile, error) {
	rejects, err := os.Stat(path)
	if err != nil || !rejects.Mode().IsRegular() { // nothing to overwrite
		return &rejectsFile{path: path}, nil
	}
	for _, input := range inputs {
		st, err := statInput(input, stdin)
		if err == nil && os.SameFile(st, rejects) {
			return nil, usagef("build: --rejects %s would overwrite the input %s", path, input)
		}
	}
	return &rejectsFile{path: path}, nil
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

// Write replaces what the file had before, the first time.
func (r *rejectsFile) Write(p []byte) (int, error) {
	f := r.file.Load()
	if f == nil {
		var err error
		// Not os.Create, which makes a named pipe's writer its reader too.
		if f, err = os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			return 0, err
		}
		r.file.Store(f)
	}
	return f.Write(p)
}

// Close may be called while a Write is stuck, and ends it if it can.
func (r *rejectsFile) Close() error {
	if f := r.file.Load(); f != nil {
		return f.Close()
	}
	return nil
}

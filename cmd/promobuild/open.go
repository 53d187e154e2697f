package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"promostore/format/generation"
	"promostore/reader"
)

// open opens a generation file, or the newest servable generation of a
// directory, and returns the path of the file.
func open(path string) (*reader.File, string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		return openNewest(path)
	}
	f, err := openFile(path)
	return f, path, err
}

// openNewest opens the newest generation of a directory that is servable,
// except for its blocks, whatever is pinned.
func openNewest(dir string) (f *reader.File, path string, err error) {
	list, err := generation.List(dir)
	if err != nil {
		return nil, "", err
	}
	g, err := generation.First(context.Background(), generation.Pin{}.Candidates(list), func(g generation.Generation) (err error) {
		f, err = generation.Open(g, openPread)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", dir, err)
	}
	return f, g.Files[0], nil
}

// openFile opens a generation file, whose header must agree with its name if
// that is the name of a generation file.
func openFile(path string) (*reader.File, error) {
	f, err := openPread(path)
	if err != nil {
		return nil, err
	}
	if name, err := generation.ParseName(filepath.Base(path)); err == nil {
		if err := name.CheckHeader(f.Header()); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}
	return f, nil
}

// openPread opens a file without a mapping, so that a file which is cut while
// a command reads it causes an error, not a signal.
func openPread(path string) (*reader.File, error) { return reader.Open(path, reader.AccessPread) }

var errNoGeneration = errors.New("no complete generation")

// newestComplete returns the path of the newest complete generation of a
// directory, servable or not, and the path of anything else unchanged.
func newestComplete(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, err
	}
	list, err := generation.List(path)
	if err != nil {
		return "", err
	}
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Complete() {
			return list[i].Files[0], nil
		}
	}
	return "", fmt.Errorf("%s: %w", path, errNoGeneration)
}

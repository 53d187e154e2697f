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

// openNewest opens the newest servable generation of a directory. It checks
// everything but the blocks, and ignores the pin.
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

// openFile opens a generation file. If the name of the file is that of a
// generation, the header must agree with it.
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

// openPread opens a file without a mapping. A file that is truncated during the
// command then causes an error, not a signal.
func openPread(path string) (*reader.File, error) { return reader.Open(path, reader.AccessPread) }

var errNoGeneration = errors.New("no complete generation")

// newestComplete returns the file of the newest complete generation of a
// directory, servable or not. It returns the path of a file unchanged.
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

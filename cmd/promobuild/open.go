package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"promostore/format/generation"
	"promostore/reader"
)

var errNoGeneration = errors.New("no complete generation")

// open opens what an argument stands for: a generation file, or a directory's
// newest complete generation. It reads through the file, not through a
// mapping, so that a file which is cut meanwhile is an error like any other.
func open(path string) (*reader.File, string, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, "", err
	}
	f, err := openFile(path)
	return f, path, err
}

// openFile opens a generation file. A server would refuse one that has the
// name of a generation and says that it is another.
func openFile(path string) (*reader.File, error) {
	f, err := reader.Open(path, reader.AccessPread)
	if err != nil {
		return nil, err
	}
	name, err := generation.ParseName(filepath.Base(path))
	if err != nil { // any other name will do
		return f, nil
	}
	h := f.Header()
	if got := (generation.Name{ID: f.ID(), Shard: int(h.Shard), Shards: int(h.Shards)}); got != name {
		return nil, errors.Join(fmt.Errorf("%s: %w: its header says %s", path, reader.ErrMisnamed, got), f.Close())
	}
	return f, nil
}

func resolve(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil || !st.IsDir() {
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

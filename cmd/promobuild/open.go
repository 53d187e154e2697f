package main

import (
	"errors"
	"fmt"
	"os"

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
	f, err := reader.Open(path, reader.AccessPread)
	return f, path, err
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

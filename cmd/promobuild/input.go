package main

import (
	"context"
	"io"
	"os"

	"promostore/builder"
)

// inputs are the inputs that the arguments name.
func inputs(ctx context.Context, args []string, stdin io.Reader) ([]builder.Input, error) {
	var list []builder.Input
	standard := false
	for _, arg := range args {
		if arg != "-" {
			list = append(list, fileInput(ctx, arg))
			continue
		}
		if standard {
			return nil, usagef("build: standard input, -, is given twice")
		}
		standard = true
		list = append(list, standardInput(stdin))
	}
	return list, nil
}

func fileInput(ctx context.Context, path string) builder.Input {
	in := builder.FileInput(path)
	if st, err := os.Stat(path); err == nil && st.Mode()&os.ModeNamedPipe != 0 {
		in.Open = func() (io.ReadCloser, error) { return openPipe(ctx, path) }
	}
	return in
}

// openPipe opens a named pipe, which waits until somebody writes to it, or
// until ctx ends.
func openPipe(ctx context.Context, path string) (io.ReadCloser, error) {
	type result struct {
		file *os.File
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.Open(path)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.file, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func standardInput(stdin io.Reader) builder.Input {
	in := builder.StreamInput("standard input", stdin)
	if f, ok := stdin.(*os.File); ok {
		st, err := f.Stat()
		if at, serr := f.Seek(0, io.SeekCurrent); err == nil && serr == nil && st.Mode().IsRegular() {
			in.Size = max(0, st.Size()-at)
		}
	}
	return in
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"promostore/builder"
)

// inputs are the inputs that the arguments name. When ctx ends, a read from
// one that has stalled ends too.
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
		list = append(list, standardInput(ctx, stdin))
	}
	return list, nil
}

func fileInput(ctx context.Context, path string) builder.Input {
	in := builder.FileInput(path)
	if st, err := os.Stat(path); err == nil && st.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) != 0 {
		in.Open = func() (io.ReadCloser, error) { return openPipe(ctx, path) }
	}
	return in
}

// openPipe opens a named pipe. That waits for somebody to write to it.
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
		if r.err != nil {
			return nil, r.err
		}
		return interruptible(ctx, r.file)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func standardInput(ctx context.Context, stdin io.Reader) builder.Input {
	const name = "standard input"
	f, ok := stdin.(*os.File)
	if !ok {
		return builder.StreamInput(name, stdin)
	}
	in := builder.Input{Name: name}
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() {
		if at, err := f.Seek(0, io.SeekCurrent); err == nil {
			in.Size = max(0, st.Size()-at)
		}
		in.Open = func() (io.ReadCloser, error) { return io.NopCloser(f), nil }
	} else {
		in.Open = func() (io.ReadCloser, error) { return interruptible(ctx, f) }
	}
	return in
}

// A waitingReader waits for data by poll, so that the end of a context can
// interrupt it: a read of standard input cannot be, and to make the
// descriptor non-blocking would do so for other processes that have it too.
type waitingReader struct {
	ctx   context.Context
	file  *os.File
	fds   [2]unix.PollFd // of file and wake
	wake  *os.File       // readable once ctx has ended
	waker *os.File
	stop  func() bool
}

// interruptible reads f. Its reads end with the error of ctx when that ends.
func interruptible(ctx context.Context, f *os.File) (io.ReadCloser, error) {
	wake, waker, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	r := &waitingReader{ctx: ctx, file: f, wake: wake, waker: waker}
	r.fds[0] = unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN}
	r.fds[1] = unix.PollFd{Fd: int32(wake.Fd()), Events: unix.POLLIN}
	r.stop = context.AfterFunc(ctx, func() { waker.Close() })
	return r, nil
}

func (r *waitingReader) Read(p []byte) (int, error) {
	for {
		_, err := unix.Poll(r.fds[:], -1)
		if r.ctx.Err() != nil {
			return 0, r.ctx.Err()
		}
		if err != unix.EINTR {
			break // data, the end, or an error, which the read tells
		}
	}
	return r.file.Read(p)
}

// Close closes the file. No read may be under way.
func (r *waitingReader) Close() error {
	r.stop()
	r.waker.Close()
	r.wake.Close()
	return r.file.Close()
}

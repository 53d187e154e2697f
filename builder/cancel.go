package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A cancelable performs reads or writes in a goroutine of its own, so that a
// blocked one does not outlast its context for the caller. The memory of a read
// or write that the context has ended must not be used again.
type cancelable struct {
	ctx      context.Context
	requests chan []byte
	results  chan ioResult
}

type ioResult struct {
	n   int
	err error
}

// newCancelable returns a cancelable that calls do, the Read or Write method of
// another type, until ctx is done.
func newCancelable(ctx context.Context, do func([]byte) (int, error)) *cancelable {
	c := &cancelable{ctx, make(chan []byte), make(chan ioResult, 1)}
	go func() {
		for {
			select {
			case b := <-c.requests:
				n, err := do(b)
				c.results <- ioResult{n, err}
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

func (c *cancelable) Read(b []byte) (int, error)  { return c.transfer(b) }
func (c *cancelable) Write(b []byte) (int, error) { return c.transfer(b) }

func (c *cancelable) transfer(b []byte) (int, error) {
	select {
	case c.requests <- b:
	case <-c.ctx.Done():
		return 0, context.Cause(c.ctx)
	}
	select {
	case r := <-c.results:
		return r.n, r.err
	case <-c.ctx.Done():
		return 0, context.Cause(c.ctx)
	}
}

// cancelableReader returns a reader of r whose reads end when ctx is done, even
// if r blocks. Close closes r.
func cancelableReader(ctx context.Context, r io.ReadCloser) io.ReadCloser {
	var inner io.Reader = r
	if n, ok := r.(notClosed); ok {
		inner = n.Reader
	}
	if f, ok := inner.(*os.File); ok {
		st, err := f.Stat()
		if err == nil && st.Mode().IsRegular() {
			return r // does not block
		}
		if err == nil && st.Mode()&os.ModeNamedPipe != 0 {
			growPipe(f, pipeLen)
			if p, err := reopenPipe(ctx, f); err == nil {
				p.original = r
				return p
			}
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{newCancelable(ctx, r.Read), r}
}

// pipeLen is the capacity, in bytes, that a pipe should have. It is the Linux
// limit for ordinary users. A writer can fill it while all workers parse.
const pipeLen = 1 << 20

// growPipe gives a pipe a capacity of at least n bytes, if it may.
func growPipe(f *os.File, n int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		if has, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil && has < n {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, n) // on error the capacity stays
		}
	})
}

// A pipeReader reads a pipe of the system until ctx is done, without a goroutine
// of its own.
//
// It opens the pipe a second time, for reads that do not block. O_NONBLOCK
// cannot be set on the original, because it belongs to the open file
// description, which other processes may share. Polling before a blocking read
// is not enough either: another process may read the data first.
type pipeReader struct {
	ctx      context.Context
	file     *os.File
	original io.Closer
	stop     func() bool // ends the connection to ctx
}

// reopenPipe returns a reader of the pipe f. It fails without /proc, and if the
// pipe belongs to another user.
func reopenPipe(ctx context.Context, f *os.File) (*pipeReader, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	cerr := conn.Control(func(fd uintptr) {
		file, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	p := &pipeReader{ctx: ctx, file: file}
	p.stop = context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	return p, nil
}

func (p *pipeReader) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.Cause(p.ctx)
	}
	return n, err
}

func (p *pipeReader) Close() error {
	p.stop()
	return errors.Join(p.file.Close(), p.original.Close())
}

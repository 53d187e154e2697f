package builder

import (
	"context"
	"io"
	"os"

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

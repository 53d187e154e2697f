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

// stoppable reads r, which may be stuck, until ctx ends. To close it is to
// close r, too.
func stoppable(ctx context.Context, r io.ReadCloser) io.ReadCloser {
	var inner io.Reader = r
	if n, ok := r.(notClosed); ok {
		inner = n.Reader
	}
	if f, ok := inner.(*os.File); ok {
		st, err := f.Stat()
		if err == nil && st.Mode().IsRegular() {
			return r // which is never stuck
		}
		if err == nil && st.Mode()&os.ModeNamedPipe != 0 {
			if p, err := newPipe(ctx, f); err == nil {
				p.below = r
				return p
			}
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{newPatient(ctx, r.Read), r}
}

// A pipe reads a pipe of the system until ctx ends.
//
// It opens the pipe once more, so as not to wait in a read: whether reads wait
// is a matter of the open file, which other processes may share. To look
// whether the pipe has something before a read does not do, since another
// process may be faster.
type pipe struct {
	ctx   context.Context
	file  *os.File
	below io.Closer
	stop  func() bool // forgets about the end of ctx
}

// pipeLen is how many bytes a pipe should hold at least: as many as Linux lets
// everybody have, so that who writes to it goes on while all workers parse.
const pipeLen = 1 << 20

// newPipe reads what is open as f. It fails where /proc is missing, or where
// the pipe is another user's.
func newPipe(ctx context.Context, f *os.File) (*pipe, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var file *os.File
	cerr := conn.Control(func(fd uintptr) {
		file, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
		lengthen(fd, pipeLen)
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, err
	}
	p := &pipe{ctx: ctx, file: file}
	p.stop = context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	return p, nil
}

// lengthen makes a pipe hold n bytes at least, if it may.
func lengthen(fd uintptr, n int) {
	if has, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil && has < n {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, n) // an error means: it stays as it is
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.file.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = context.Cause(p.ctx)
	}
	return n, err
}

func (p *pipe) Close() error {
	p.stop()
	return errors.Join(p.file.Close(), p.below.Close())
}

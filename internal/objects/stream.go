package objects

import (
	"context"
	"io"
	"os"
	"sync"
)

// Stream reads the bytes [from, to) of the object, or fewer if it ends before to. It
// requests up to parts parts of partLen bytes at the same time, and holds that many
// in memory. An error follows the bytes before it. Canceling the context ends a
// blocked Read. Close stops the requests and waits for them.
func (r *Reader) Stream(ctx context.Context, from, to int64, parts, partLen int) io.ReadCloser {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{ctx: ctx, cancel: cancel, parts: make(chan *part, parts), free: make(chan []byte, parts)}
	to = min(to, r.Size())
	partLen = int(min(int64(partLen), max(0, to-from))) // a small object needs less
	for range parts {
		s.free <- nil // allocated by its first use
	}
	s.running.Go(func() {
		defer close(s.parts)
		for ; from < to; from += int64(partLen) {
			var buf []byte
			select {
			case buf = <-s.free:
			case <-ctx.Done():
				return
			}
			if buf == nil {
				buf = make([]byte, partLen)
			}
			at := from
			p := &part{data: buf[:min(int64(partLen), to-at)], done: make(chan struct{})}
			s.parts <- p // has room for all buffers
			s.running.Go(func() {
				defer close(p.done)
				p.err = r.src.readRange(ctx, p.data, at)
			})
		}
	})
	return s
}

// A part is requested, then filled, then read by the consumer.
type part struct {
	data []byte
	err  error
	done chan struct{} // closed when data and err are set
}

// A stream hands the parts of an object to one consumer.
type stream struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	parts   chan *part // in order; closed after the last one
	free    chan []byte
	running sync.WaitGroup

	current *part
	rest    []byte // of current
	err     error
}

func (s *stream) Read(b []byte) (int, error) {
	if len(b) == 0 || s.err != nil {
		return 0, s.err
	}
	if len(s.rest) == 0 {
		s.err = s.next()
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, s.err
}

// next frees the current part and waits for the next one.
func (s *stream) next() error {
	if s.current != nil {
		s.free <- s.current.data[:cap(s.current.data)]
		s.current = nil
	}
	p, ok := <-s.parts
	if !ok {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		return io.EOF
	}
	select {
	case <-p.done:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	if p.err != nil {
		return p.err
	}
	s.current, s.rest = p, p.data
	return nil
}

// Close must not be called during a Read.
func (s *stream) Close() error {
	s.cancel(os.ErrClosed)
	s.running.Wait()
	s.rest, s.err = nil, os.ErrClosed
	return nil
}

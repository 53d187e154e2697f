package diff

import (
	"context"

	"promostore/format"
)

// streamBufs is the number of buffers of a stream. A buffer holds the records of
// one call of Scan, up to 1 MiB. The comparison is slower than the reads only where
// the files differ much.
const streamBufs = 3

// A stream reads the records of a generation ahead.
type stream struct {
	source Source
	full   chan []format.Record
	free   chan []format.Record

	buf     []format.Record // the last buffer of next
	records []format.Record // the rest of buf
	ended   bool
}

func newStream(source Source) *stream {
	s := &stream{source: source, full: make(chan []format.Record, streamBufs), free: make(chan []format.Record, streamBufs)}
	for range streamBufs {
		s.free <- nil // fill allocates it, so that a small file needs one
	}
	return s
}

// fill reads the whole generation. It runs in its own goroutine.
func (s *stream) fill(ctx context.Context) error {
	defer close(s.full)
	return s.source.Scan(ctx, func(records []format.Record) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case buf := <-s.free:
			s.full <- append(buf[:0], records...) // does not block: it has room for all buffers
			return nil
		}
	})
}

// next returns the last buffer and takes the next. A generation that cannot be read
// looks as if it had ended; then the error of fill fails the comparison.
func (s *stream) next(ctx context.Context) error {
	if s.buf != nil {
		s.free <- s.buf
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case buf, ok := <-s.full:
		s.buf, s.records, s.ended = buf, buf, !ok
		return nil
	}
}

package builder

import (
	"bytes"
	"context"
	"errors"
	"io"

	"promostore/internal/objects"
)

// RangeInput returns an Input of the rows of an object that begin at an offset in
// [from, to). The object must not be compressed, unless this is all of it. Of ranges
// that follow each other, each row belongs to one: a range above 0 begins after the
// first line end at or after from-1, and a range ends with the row that began before
// to. A range within one row is empty. Lines are counted from the first one of the
// range, see LinesBefore.
//
// Build looks for a byte-order mark, a header row, another kind of file and a common
// cause of bad rows only in a range that begins at 0. A header row can follow up to
// 256 KiB of blank lines, so a shorter first range can miss it.
func RangeInput(s objects.Store, o objects.Object, from, to int64) Input {
	from, to = max(from, 0), min(to, o.Size)
	in := ObjectInput(s, o)
	if from == 0 && to == o.Size {
		return in
	}
	in.Size, in.memory, in.object = max(0, to-from), 0, &object{s, o, from, to}
	return in
}

// isRange reports whether in has only a part of the rows of an object.
func (in *Input) isRange() bool {
	return in.object != nil && (in.object.from > 0 || in.object.to < in.object.Size)
}

// continues reports whether in begins within an object.
func (in *Input) continues() bool { return in.object != nil && in.object.from > 0 }

// LinesBefore returns the number of lines before the first row of
// RangeInput(s, o, from, to). It reads the object up to there.
func LinesBefore(ctx context.Context, s objects.Store, o objects.Object, from int64) (n int64, err error) {
	if from <= 0 {
		return 0, nil
	}
	r, err := (&object{s, o, 0, min(from, o.Size)}).open(ctx, objectParts{maxParts, maxPartLen})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	buf := make([]byte, 256<<10)
	for {
		m, err := r.Read(buf)
		n += int64(bytes.Count(buf[:m], []byte{'\n'}))
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is an error
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// ShiftLines adds n to the lines of the bad rows of the input with this index: those
// of a range that follows n lines.
func (e *BadRowsError) ShiftLines(index int, n int64) {
	for i := range e.Rows {
		if e.Rows[i].Index == index {
			e.Rows[i].Line += n
		}
	}
}

// minTail is the number of bytes that are requested first after the end of a range,
// for the rest of its last row.
const minTail = 64 << 10

// A rangeReader reads the rows of a range of an object.
type rangeReader struct {
	ctx    context.Context
	object *object
	parts  objectParts
	reader *objects.Reader
	stream io.ReadCloser // of the range, then of more bytes

	end    int64 // of stream
	tail   int64 // bytes of the next stream; 0: the stream is that of the range
	skip   bool  // to the first row of the range
	within bool  // the last byte read is within a row
}

// open opens the object. Canceling ctx ends its reads.
func (o *object) open(ctx context.Context, parts objectParts) (io.ReadCloser, error) {
	r, err := o.store.Open(ctx, o.Key)
	if err != nil {
		return nil, o.explain(err)
	}
	if r.ETag() != o.ETag || r.Size() != o.Size {
		r.Close()
		return nil, o.explain(objects.ErrChanged)
	}
	stream := r.Stream(ctx, max(0, o.from-1), o.to, parts.num, parts.len)
	return &rangeReader{ctx: ctx, object: o, parts: parts, reader: r, stream: stream, end: o.to, skip: o.from > 0}, nil
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.tail > 0 && !r.within {
			return 0, io.EOF
		}
		n, err := r.stream.Read(p)
		switch {
		case err == io.EOF && n == 0: //nolint:errorlint // a wrapped EOF is an error
			if err := r.extend(); err != nil {
				return 0, err
			}
			continue
		case err != nil:
			return 0, r.object.explain(err)
		}
		if n = r.cut(p[:n]); n > 0 {
			return n, nil
		}
	}
}

// cut moves the bytes of b that belong to the range to its start, and returns their
// number.
func (r *rangeReader) cut(b []byte) (n int) {
	n = len(b)
	if r.skip {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return 0
		}
		r.skip = false
		n = copy(b, b[i+1:])
	}
	if r.tail > 0 {
		if i := bytes.IndexByte(b[:n], '\n'); i >= 0 {
			n = i + 1
		}
	}
	if n > 0 {
		r.within = b[n-1] != '\n'
	}
	return n
}

// extend opens the stream of the bytes after the present one, which has ended, if
// the last row of the range is not complete. Otherwise it returns io.EOF. A row can
// have any length, so each stream is twice as long as the one before it.
func (r *rangeReader) extend() error {
	if !r.within || r.end == r.object.Size {
		return io.EOF
	}
	if err := r.stream.Close(); err != nil {
		return err
	}
	r.tail = max(minTail, 2*r.tail)
	from := r.end
	r.end = min(from+r.tail, r.object.Size)
	r.stream = r.reader.Stream(r.ctx, from, r.end, r.parts.num, r.parts.len)
	return nil
}

func (r *rangeReader) Close() error { return errors.Join(r.stream.Close(), r.reader.Close()) }

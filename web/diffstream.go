package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"promostore/format/generation"
	"promostore/history"
)

// Limits of a DiffStream.
const (
	diffTimeout = 10 * time.Minute
	diffBeat    = time.Second // between two writes
)

var errTooLong = errors.New("the comparison took too long")

// A DiffStream writes the body of the answer to a comparison while it compares.
type DiffStream struct {
	history  *History
	diff     *history.Diff
	from, to generation.ID
	limit    int // of changes
	view     history.View
}

// Close ends s without a comparison.
func (s *DiffStream) Close() {
	s.diff.Close()
	s.history.limitsOf(s.view.Details).diffs.Release(1)
}

// Run compares and writes the body to w. It calls flush, which sends it, at least
// every second, so that it notices a closed connection. Run ends when ctx or the
// History does, or with the error of w or flush. If the comparison fails, the object
// has a member error instead of counts.
func (s *DiffStream) Run(ctx context.Context, w io.Writer, flush func() error) {
	defer s.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, diffTimeout, errTooLong)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.history.stopping, func() { end(errStopping) })()
	out := &diffWriter{w: w, flush: flush, last: time.Now()}
	out.write(fmt.Appendf(nil, `{"from":%q,"to":%q,"changes":[`, s.from, s.to))
	n := 0
	counts, err := s.diff.Run(ctx, func(c history.Change) error {
		if n == s.limit {
			return nil
		}
		if n++; n > 1 {
			out.write([]byte(","))
		}
		out.write(s.view.Change(c))
		return out.err
	}, out.beat)
	switch {
	case out.err != nil:
		return
	case err != nil:
		out.write(append([]byte(`],`), bytes.TrimPrefix(errorBody(s.reason(ctx, err)), []byte("{"))...))
	default:
		out.write(append(append([]byte(`],"counts":`), s.view.Counts(counts)...), "}\n"...))
	}
	out.send()
}

// reason returns why the comparison failed. The error of a file may precede the end
// of ctx, so only details have it.
func (s *DiffStream) reason(ctx context.Context, err error) string {
	switch {
	case s.view.Details:
		return err.Error()
	case ctx.Err() != nil:
		return context.Cause(ctx).Error()
	}
	return generation.PublicReason(err)
}

// A diffWriter writes a body until an error, which it keeps.
type diffWriter struct {
	w     io.Writer
	flush func() error
	last  time.Time // of the last flush
	err   error
}

func (o *diffWriter) write(text []byte) {
	if o.err == nil {
		_, o.err = o.w.Write(text)
	}
}

func (o *diffWriter) send() {
	if o.err == nil {
		o.err = o.flush()
	}
	o.last = time.Now()
}

// beat sends a line end, which JSON allows between two tokens, if the last flush is
// long ago.
func (o *diffWriter) beat() error {
	if time.Since(o.last) >= diffBeat {
		o.write([]byte("\n"))
		o.send()
	}
	return o.err
}

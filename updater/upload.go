package updater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"promostore/builder"
)

const (
	// statusGone is the code that the metrics count for a client that went
	// away. It is never sent.
	statusGone = 499

	// lingerTimeout bounds how long a rejected client may go on sending.
	lingerTimeout = 10 * time.Second

	inputName = "upload" // of an upload, in messages
)

// upload builds a generation of the request body and answers when it is
// published.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	res, err := s.receive(w, r)
	if err == nil {
		s.pipeline.counters.countUpload(http.StatusCreated)
		reply(w, http.StatusCreated, uploaded{*res.Summary, append([]string{}, res.Pruned...), res.Pinned})
		return
	}
	code := s.reject(w, err) // a client that closed only its sending side still reads it
	if errors.Is(err, errCut) {
		code = statusGone
	}
	s.pipeline.counters.countUpload(code)
	if code != statusGone && code != http.StatusRequestTimeout {
		s.linger(w)
	}
}

// receive authorizes an upload, acquires the build slot and builds the body.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (*result, error) {
	if err := s.auth.check(r); err != nil {
		s.refusals.refuse(r, err)
		return nil, err
	}
	if limit := s.opts.MaxUpload; limit > 0 {
		if r.ContentLength > limit {
			return nil, &TooLargeError{limit}
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	// While the body arrives, Read reports that the client has gone, and why.
	// The context of the request takes over after the last byte.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	b := &body{
		r:       r.Body,
		control: http.NewResponseController(w),
		timeout: s.opts.StallTimeout,
		count:   s.pipeline.counters.countBytes,
		received: func() {
			context.AfterFunc(r.Context(), func() { cancel(fmt.Errorf("%w: the client has gone", errCut)) })
		},
	}
	defer b.close()
	// Without full duplex, net/http reads up to 256 KiB of the body before it
	// sends a response. A rejection is sent at once, and linger reads after it.
	if err := b.control.EnableFullDuplex(); err != nil {
		return nil, err
	}
	dataSet, err := dataSetOf(r, b)
	if err != nil {
		return nil, err
	}
	if err := s.pipeline.slot.tryAcquire(); err != nil {
		return nil, err
	}
	defer s.pipeline.slot.release()
	in := builder.StreamInput(inputName, dataSet)
	in.Size = max(0, r.ContentLength)
	return s.pipeline.build(ctx, job{source: sourceUpload, name: r.RemoteAddr, input: in})
}

// linger discards the input of a rejected client until the client closes the
// connection. A client whose connection is reset while it sends may never read
// the response.
func (s *Server) linger(w http.ResponseWriter) {
	s.lingering.Add(1)
	defer s.lingering.Done()
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	// The body is of no use here: it returns nothing after an interrupted Read.
	conn, _, err := control.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(lingerTimeout)) != nil {
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn) // ends with the connection or the deadline
}

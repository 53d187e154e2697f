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

// uploadName is how messages call an upload.
const uploadName = "upload"

// published is the answer to an upload that is a generation now.
type published struct {
	builder.Summary
	Pruned []string `json:"pruned"` // generations
}

// upload builds a generation of the request's body.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	rest := r.Body // without its limit
	d, err := s.receive(w, r)
	if err == nil {
		s.figures.upload(http.StatusCreated)
		reply(w, http.StatusCreated, published{*d.Summary, append([]string{}, d.Pruned...)})
		return
	}
	// Whoever has only closed his side of the connection hears it all the same.
	code := s.failUpload(w, err)
	switch {
	case errors.Is(err, errCut):
		code = statusGone
	case code != http.StatusRequestTimeout && r.Header.Get("Expect") == "":
		drain(w, rest)
	}
	s.figures.upload(code)
}

// drainTime is how long a client that was refused may go on sending. One whose
// connection is reset while it sends may never read the answer.
const drainTime = 2 * time.Second

func drain(w http.ResponseWriter, body io.Reader) {
	control := http.NewResponseController(w)
	if control.Flush() == nil && control.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		_, _ = io.Copy(io.Discard, body) // until it ends or the time is over
	}
}

// statusGone counts clients that went away.
const statusGone = 499

func (s *Server) receive(w http.ResponseWriter, r *http.Request) (*done, error) {
	if err := s.authorize(r); err != nil {
		return nil, err
	}
	if limit := s.opts.MaxUpload; limit > 0 {
		if r.ContentLength > limit {
			return nil, &http.MaxBytesError{Limit: limit}
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
	// Until all has come, it is reading that tells whether the client is still
	// there, and why not; from then on it is the request's context.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.Context()))
	defer cancel(nil)
	received := func() {
		context.AfterFunc(r.Context(), func() { cancel(fmt.Errorf("%w: the client has gone", errCut)) })
	}
	b := &body{r: r.Body, received: received, control: http.NewResponseController(w), timeout: s.opts.StallTimeout, count: s.figures.received}
	defer b.close()
	// To answer ends no reading; see drain.
	if err := b.control.EnableFullDuplex(); err != nil {
		return nil, err
	}
	table, err := tableOf(r, b)
	if err != nil {
		return nil, err
	}
	if err := s.work.tryEnter(); err != nil {
		return nil, err
	}
	defer s.work.leave()
	in := builder.StreamInput(uploadName, table)
	in.Size = max(0, r.ContentLength)
	return s.build(ctx, sourceUpload, r.RemoteAddr, in, nil)
}

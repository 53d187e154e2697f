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
	Pruned []string `json:"pruned"`           // generations
	Pinned string   `json:"pinned,omitempty"` // the generation that servers go on serving
}

// upload builds a generation of the request's body.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	d, err := s.receive(w, r)
	if err == nil {
		s.figures.upload(http.StatusCreated)
		reply(w, http.StatusCreated, published{*d.Summary, append([]string{}, d.Pruned...), d.Pinned})
		return
	}
	// Whoever has only closed his side of the connection hears it all the same.
	code := s.failUpload(w, err)
	if errors.Is(err, errCut) {
		code = statusGone
	}
	s.figures.upload(code)
	if code != statusGone && code != http.StatusRequestTimeout {
		s.linger(w)
	}
}

// lingerTime is how long a client that was refused may go on sending. One whose
// connection is reset while it sends may never read the answer.
const lingerTime = 10 * time.Second

// linger ends the connection of an answer once the client has.
func (s *Server) linger(w http.ResponseWriter) {
	s.lingering.Add(1)
	defer s.lingering.Done()
	control := http.NewResponseController(w)
	if control.Flush() != nil {
		return
	}
	// Not by the body: it says no more once a Read of it was cut off.
	conn, _, err := control.Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	if c, ok := conn.(interface{ CloseWrite() error }); ok && c.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, conn) // until it ends or the time is over
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
	// To answer ends no reading; see linger.
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

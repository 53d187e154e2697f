package updater

import (
	"errors"
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
// published. A client that sent "Prefer: respond-async" gets its answer when the
// whole body has arrived. After that, nothing that the client does ends the
// build.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	u, err := s.receive(w, r)
	if err == nil {
		if prefersAsync(r.Header) && u.hasArrived() {
			s.accept(w, u)
			return
		}
		<-u.done
		err = u.err
	}
	if err == nil {
		s.pipeline.counters.countUpload(http.StatusCreated)
		w.Header().Set("Location", u.path())
		reply(w, http.StatusCreated, uploadedOf(u))
		return
	}
	code := s.reject(w, err, u) // a client that closed only its sending side still reads it
	if errors.Is(err, errCut) {
		code = statusGone
	}
	s.pipeline.counters.countUpload(code)
	if code != statusGone && code != http.StatusRequestTimeout {
		s.linger(w)
	}
}

// accept answers an upload whose body has arrived before its build has ended.
func (s *Server) accept(w http.ResponseWriter, u *upload) {
	s.pipeline.counters.countUpload(http.StatusAccepted)
	w.Header().Set("Location", u.path())
	w.Header().Set("Preference-Applied", respondAsync)
	reply(w, http.StatusAccepted, s.describe(u))
}

// receive authorizes an upload, acquires the build slot and starts to build the
// body. The error is that of an upload that was not started; the upload is nil.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) (*upload, error) {
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
	c, err := contentOf(r.Header)
	if err != nil {
		return nil, err
	}
	u := newUpload(c)
	b := &body{
		r:        r.Body,
		control:  http.NewResponseController(w),
		timeout:  s.opts.StallTimeout,
		count:    s.pipeline.counters.countBytes,
		received: func() { close(u.received) },
	}
	// Without full duplex, net/http reads up to 256 KiB of the body before it
	// sends a response. A rejection is sent at once, and linger reads after it.
	if err := b.control.EnableFullDuplex(); err != nil {
		return nil, err
	}
	if err := s.pipeline.slot.tryAcquire(); err != nil {
		b.close()
		return nil, err
	}
	in := builder.StreamInput(inputName, c.dataSet(b))
	in.Size = max(0, r.ContentLength)
	j := job{source: sourceUpload, name: r.RemoteAddr, upload: u.id, input: in}
	s.uploads.add(u)
	s.background.Go(func() {
		res, err := s.pipeline.build(j)
		b.close()
		s.pipeline.slot.release() // before the answer, which lets the client send again
		u.finish(res, err)
	})
	return u, nil
}

// linger discards the input of a rejected client until the client closes the
// connection. A client whose connection is reset while it sends may never read
// the response.
func (s *Server) linger(w http.ResponseWriter) {
	s.background.Add(1)
	defer s.background.Done()
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

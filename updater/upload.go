package updater

import (
	"net/http"

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
	d, err := s.receive(w, r)
	code := http.StatusCreated
	switch {
	case err == nil:
		reply(w, code, published{*d.Summary, append([]string{}, d.Pruned...)})
	case r.Context().Err() != nil: // there is nobody to answer to
		code = statusGone
	default:
		code = s.failUpload(w, err)
	}
	s.figures.upload(code)
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
	b := &body{r: r.Body, control: http.NewResponseController(w), timeout: s.opts.StallTimeout, count: s.figures.received}
	defer b.close()
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
	return s.build(r.Context(), sourceUpload, r.RemoteAddr, in, nil)
}

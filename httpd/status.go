package httpd

import (
	"path/filepath"

	"github.com/valyala/fasthttp"

	"promostore/format/generation"
	"promostore/web"
)

// A Status describes the generations to operators and scripts. It names files
// and persons, so only the admin listener serves it. Alerts use the metrics.
type Status struct {
	Live   *string `json:"live"`   // null: none
	Pinned *string `json:"pinned"` // null: the newest good generation is served
	web.PinStatus
	Newest  *string       `json:"newest"` // in the directory, good or not; null: none
	Refused []RefusedFile `json:"refused"`
	Future  []string      `json:"future,omitempty"` // files from the future
	Deleted bool          `json:"deleted,omitempty"`
	Problem string        `json:"problem,omitempty"`
}

// A RefusedFile is a generation file that the Store refused.
type RefusedFile struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// A publicStatus is the JSON body of GET /status. It names no file or person.
type publicStatus struct {
	Live    *string `json:"live"`              // null: none
	Pinned  *string `json:"pinned"`            // null: the newest good generation is served
	Newest  *string `json:"newest"`            // in the directory, good or not; null: none
	Refused int     `json:"refused"`           // number of files
	Future  int     `json:"future"`            // number of files
	Deleted bool    `json:"deleted,omitempty"` // the directory no longer has the file of Live
	Problem string  `json:"problem,omitempty"` // why no generation is live, or new ones are not found
}

// Status describes the generations as of the last poll of the directory.
func (s *Server) Status() Status {
	found := s.opts.Store.Status()
	st := Status{PinStatus: web.PinStatusOf(found.Pin, found.PinErr), Refused: []RefusedFile{}}
	if f := s.opts.Store.Acquire(0); f != nil {
		st.Live = idText(f.ID())
		s.opts.Store.Release(f, 0)
		if found.DirErr != nil {
			st.Problem = found.DirErr.Error()
		}
	} else {
		st.Problem = found.Unready().Error()
	}
	st.Deleted = found.Deleted
	if found.Pin.Active {
		st.Pinned = idText(found.Pin.ID)
	}
	if found.Any {
		st.Newest = idText(found.Newest)
	}
	for _, r := range found.Refused {
		st.Refused = append(st.Refused, RefusedFile{filepath.Base(r.Path), r.Reason})
	}
	for _, path := range found.Future {
		st.Future = append(st.Future, filepath.Base(path))
	}
	return st
}

// status reports the live, the pinned and the newest generation, and the numbers
// of refused files and of those from the future.
func (s *Server) status(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	st := s.Status()
	answerJSON(ctx, publicStatus{st.Live, st.Pinned, st.Newest, len(st.Refused), len(st.Future), st.Deleted, st.Problem})
}

func idText(id generation.ID) *string {
	text := id.String()
	return &text
}

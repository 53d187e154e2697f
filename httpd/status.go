package httpd

import (
	"path/filepath"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format/generation"
)

// A statusAnswer describes the generations to people and scripts. Alerts use
// the metrics.
type statusAnswer struct {
	Live     *string       `json:"live"`   // null: none
	Pinned   *string       `json:"pinned"` // null: the newest good generation is served
	By       string        `json:"by,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	At       *time.Time    `json:"at,omitempty"`        // of the pin, or of its removal
	PinError string        `json:"pin_error,omitempty"` // set if the pin cannot be read
	Newest   *string       `json:"newest"`              // in the directory, good or not; null: none
	Refused  []refusedFile `json:"refused"`
	Future   []string      `json:"future,omitempty"` // files from the future
}

// A refusedFile is a generation file that the Store refused.
type refusedFile struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// status reports the live, the pinned and the newest generation, and the
// refused ones, as of the last poll of the directory.
func (s *Server) status(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	st := s.opts.Store.Status()
	a := statusAnswer{By: st.Pin.By, Reason: st.Pin.Reason, Refused: []refusedFile{}}
	slot := ctx.ConnID()
	if f := s.opts.Store.Acquire(slot); f != nil {
		a.Live = idText(f.ID())
		s.opts.Store.Release(f, slot)
	}
	if st.Pin.Active {
		a.Pinned = idText(st.Pin.ID)
	}
	if !st.Pin.At.IsZero() {
		a.At = &st.Pin.At
	}
	if st.PinErr != nil {
		a.PinError = st.PinErr.Error()
	}
	if st.Any {
		a.Newest = idText(st.Newest)
	}
	for _, r := range st.Refused {
		a.Refused = append(a.Refused, refusedFile{filepath.Base(r.Path), r.Reason})
	}
	for _, path := range st.Future {
		a.Future = append(a.Future, filepath.Base(path))
	}
	answerJSON(ctx, a)
}

func idText(id generation.ID) *string {
	text := id.String()
	return &text
}

package httpd

import (
	"encoding/json"
	"path/filepath"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format/generation"
)

// statusAnswer is what /status tells of the generations: for people and
// scripts, where the metrics are for alerts.
type statusAnswer struct {
	Live     *string       `json:"live"`   // null: none
	Pinned   *string       `json:"pinned"` // null: the newest good one is to be live
	By       string        `json:"by,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	At       *time.Time    `json:"at,omitempty"`        // of the pin, or of its removal
	PinError string        `json:"pin_error,omitempty"` // there is a pin that cannot be read
	Newest   *string       `json:"newest"`              // of the directory, good or not; null: none
	Refused  []refusedFile `json:"refused"`
}

type refusedFile struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// status answers with the live, the pinned and the newest generation, and with
// those that are bad, as the last look at the directory has found them.
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
	text, err := json.Marshal(a)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	ctx.Response.Header.SetCanonical(headerContentType, typeJSON)
	ctx.Response.SetBody(text)
}

func idText(id generation.ID) *string {
	text := id.String()
	return &text
}

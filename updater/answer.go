package updater

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/escape"
)

// A problem is the JSON body of an error answer.
type problem struct {
	Error     string    `json:"error"`
	Reason    string    `json:"reason,omitempty"`
	Upload    string    `json:"upload,omitempty"`    // ID; empty: no build was started
	BadRows   *int64    `json:"bad_rows,omitempty"`  // number of bad rows
	Tolerated *int64    `json:"tolerated,omitempty"` // number of bad rows that the build allows
	Rows      []badRow  `json:"rows,omitempty"`      // the first bad rows
	Flag      string    `json:"flag,omitempty"`      // the setting that accepts the data set
	Building  *progress `json:"building,omitempty"`

	Comparison *builder.Comparison `json:"comparison,omitempty"` // with the live generation
}

// A badRow locates and explains one bad row.
type badRow struct {
	Line   int64  `json:"line"`   // counted from 1
	Column int    `json:"column"` // of the first wrong byte, counted from 1
	Reason string `json:"reason"`
	Row    string `json:"row"` // truncated if long
}

// An uploaded is the JSON body of the response to an upload that was published.
type uploaded struct {
	Upload string `json:"upload"` // ID
	builder.Summary
	Pruned []string `json:"pruned"`           // generations
	Pinned string   `json:"pinned,omitempty"` // the pinned generation, which servers keep serving
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, code int, v any) {
	// The deadline bounds a client that does not read. A connection without
	// deadlines gets its answer nevertheless.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: " + err.Error())
	}
	body := escape.JSON(b.Bytes()) // names of files and hosts
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // a flush completes the response
	w.WriteHeader(code)
	_, _ = w.Write(body) // it fails only if the client has gone
}

// uploadedOf returns the body of the answer to an upload that was published.
func uploadedOf(u *upload) uploaded {
	return uploaded{u.id, *u.result.Summary, append([]string{}, u.result.Pruned...), u.result.Pinned}
}

// problemOf returns the status code and the body of the answer to an upload that
// ended with err. u is nil if no build was started.
func (s *Server) problemOf(err error, u *upload) (code int, p problem) {
	code, reason := statusOf(err)
	hint := s.pipeline.hintFor(err)
	p = problem{Error: hint.appendTo(err.Error()), Reason: reason, Flag: hint.Flag, Comparison: comparisonOf(builder.Summary{}, err)}
	if u != nil {
		p.Upload = u.id
	}
	if bad := (*builder.BadRowsError)(nil); errors.As(err, &bad) {
		p.Error = hint.appendTo(brief(err)) // Rows has the rest
		if u != nil {
			p.Error = Hint{Text: u.content.curlAdvice(bad)}.appendTo(p.Error)
		}
		p.BadRows, p.Tolerated = &bad.Count, &bad.Max
		for _, r := range bad.Rows {
			p.Rows = append(p.Rows, badRow{r.Line, r.Column, r.Reason, r.Text})
		}
	}
	return code, p
}

// reject answers an upload that was not published, and returns the status code.
// It closes the connection, because the rest of the body is not read. u is nil if
// no build was started.
func (s *Server) reject(w http.ResponseWriter, err error, u *upload) int {
	code, p := s.problemOf(err, u)
	w.Header().Set("Connection", "close")
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusConflict:
		wait := 30 * time.Second
		if running, ok := s.pipeline.builds.current(); ok {
			p.Building = &running
			if remaining := running.remaining(time.Now()); remaining > 0 {
				wait = remaining
			}
		}
		w.Header().Set("Retry-After", strconv.Itoa(min(600, 1+int(wait.Seconds()))))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	}
	if e := (*unsupportedError)(nil); errors.As(err, &e) {
		w.Header().Set(e.header, e.accepted)
	}
	reply(w, code, p)
	return code
}

// statusOf returns the status code and the reason for an upload that ended with
// err.
func statusOf(err error) (code int, reason string) {
	switch {
	case errors.As(err, new(*builder.BadRowsError)):
		return http.StatusUnprocessableEntity, "bad_rows"
	case errors.As(err, new(*builder.KindError)):
		return http.StatusUnprocessableEntity, "not_csv"
	case isRefusal(err):
		return http.StatusUnprocessableEntity, "refused"
	case errors.Is(err, errBusy), errors.Is(err, generation.ErrLocked):
		return http.StatusConflict, "busy"
	case errors.As(err, new(*TooLargeError)), errors.Is(err, builder.ErrExpansion), errors.Is(err, errLongBody):
		return http.StatusRequestEntityTooLarge, "too_large"
	case isNoSpace(err):
		return http.StatusInsufficientStorage, "no_space"
	case errors.Is(err, errStalled), errors.Is(err, errSlowBody):
		return http.StatusRequestTimeout, "stalled"
	case errors.Is(err, errStopped), errors.Is(err, errClosed):
		return http.StatusServiceUnavailable, "interrupted"
	case errors.Is(err, errMissingToken), errors.Is(err, errWrongToken), errors.Is(err, errCertificate):
		return http.StatusUnauthorized, "unauthorized"
	case errors.As(err, new(*forbiddenError)):
		return http.StatusForbidden, "unauthorized"
	case errors.As(err, new(*unsupportedError)):
		return http.StatusUnsupportedMediaType, "unsupported"
	case errors.As(err, new(*malformedError)), errors.As(err, new(*builder.CompressionError)), errors.Is(err, builder.ErrNoRows), errors.Is(err, errCut):
		return http.StatusBadRequest, "malformed"
	case errors.As(err, new(*unservableError)) && errors.Is(err, generation.ErrAbsent):
		return http.StatusNotFound, "absent"
	case errors.As(err, new(*unservableError)):
		return http.StatusUnprocessableEntity, "unservable"
	}
	return http.StatusInternalServerError, "failed"
}

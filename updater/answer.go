package updater

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

// A problem is an answer that is no success.
type problem struct {
	Error     string       `json:"error"`
	Reason    string       `json:"reason,omitempty"`
	BadRows   *int64       `json:"bad_rows,omitempty"`  // how many there are
	Tolerated *int64       `json:"tolerated,omitempty"` // bad rows
	Rows      []problemRow `json:"rows,omitempty"`      // the first bad ones
	Flag      string       `json:"flag,omitempty"`      // that lets the table through
	Building  *running     `json:"building,omitempty"`
}

// A problemRow is a bad row.
type problemRow struct {
	Line   int64  `json:"line"`   // counted from 1
	Column int    `json:"column"` // the first wrong byte, counted from 1
	Reason string `json:"reason"`
	Row    string `json:"row"` // a long one is cut
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, code int, v any) {
	// The deadline bounds a client that does not read; that it cannot be set
	// is no reason not to answer.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("BUG: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len())) // so that it is whole once it is flushed
	w.WriteHeader(code)
	_, _ = w.Write(b.Bytes()) // the client has gone
}

func fail(w http.ResponseWriter, code int, p problem) { reply(w, code, p) }

// errStalled says that a client sends too little, errCut that what it sends
// ends before it should, or is not as HTTP has it.
var (
	errStalled = errors.New("the upload has stalled")
	errCut     = errors.New("the upload was cut off")
)

// A malformedError says that a request is not as it should be.
type malformedError struct{ reason string }

func (e *malformedError) Error() string { return e.reason }

func malformed(format string, args ...any) error {
	return &malformedError{fmt.Sprintf(format, args...)}
}

// resultOf is what err, which a build ended with, counts as.
func resultOf(err error) string {
	var bad *builder.BadRowsError
	switch {
	case err == nil:
		return resultPublished
	case errors.As(err, &bad):
		return resultBadRows
	case isRefusal(err):
		return resultRefused
	case isNoSpace(err):
		return resultNoSpace
	case errors.Is(err, errStopped), errors.Is(err, errStalled), errors.Is(err, errCut):
		return resultInterrupted
	}
	return resultFailed
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

func isRefusal(err error) bool {
	var guard *builder.GuardError
	var dup *builder.DuplicatesError
	return errors.As(err, &guard) || errors.As(err, &dup) || errors.Is(err, builder.ErrEmpty)
}

// acceptingFlag returns the flag of the command, and its value, that accepts the
// data set that a guard rejected with err. It returns empty strings for other
// errors.
func acceptingFlag(err error) (flag, value string) {
	var guard *builder.GuardError
	switch {
	case !errors.As(err, &guard):
		return "", ""
	case guard.Live == 0:
		return "--min-records", strconv.FormatInt(guard.Records, 10)
	default:
		return "--max-shrink", strconv.FormatFloat(guard.MaxShrink(), 'f', 1, 64)
	}
}

// explain returns the text of err with the flag that helps, if there is one.
func explain(err error) string {
	if flag, value := acceptingFlag(err); flag != "" {
		return fmt.Sprintf("%v; %s %s accepts it", err, flag, value)
	}
	if errors.Is(err, builder.ErrWindow) {
		return fmt.Sprintf("%v; compress it without the --ultra and --long flags of zstd", err)
	}
	return err.Error()
}

// problemOf is the answer for err, which an upload ended with.
func problemOf(err error) (code int, p problem) {
	var bad *builder.BadRowsError
	var compressed *builder.CompressionError
	var forbidden *forbiddenError
	var large *http.MaxBytesError
	var form *malformedError
	p.Error = err.Error()
	switch {
	case errors.As(err, &bad):
		p = badRows(bad)
		return http.StatusUnprocessableEntity, p
	case isRefusal(err):
		p.Flag, _ = acceptingFlag(err)
		p.Error, p.Reason = explain(err), "refused"
		return http.StatusUnprocessableEntity, p
	case errors.Is(err, errBusy), errors.Is(err, generation.ErrLocked):
		p.Reason = "busy"
		return http.StatusConflict, p
	case errors.As(err, &large):
		p.Error, p.Reason = fmt.Sprintf("the upload is larger than %d bytes; --max-upload lets it through", large.Limit), "too_large"
		return http.StatusRequestEntityTooLarge, p
	case errors.Is(err, builder.ErrExpansion):
		p.Reason = "too_large"
		return http.StatusRequestEntityTooLarge, p
	case isNoSpace(err):
		p.Reason = "no_space"
		return http.StatusInsufficientStorage, p
	case errors.Is(err, errStalled):
		p.Reason = "stalled"
		return http.StatusRequestTimeout, p
	case errors.Is(err, errStopped), errors.Is(err, errClosed):
		p.Reason = "interrupted"
		return http.StatusServiceUnavailable, p
	case errors.Is(err, errUnauthorized), errors.Is(err, errCertificate):
		p.Reason = "unauthorized"
		return http.StatusUnauthorized, p
	case errors.As(err, &forbidden):
		p.Reason = "unauthorized"
		return http.StatusForbidden, p
	case errors.As(err, &form), errors.As(err, &compressed), errors.Is(err, errCut):
		p.Error, p.Reason = explain(err), "malformed"
		return http.StatusBadRequest, p
	}
	p.Reason = "failed"
	return http.StatusInternalServerError, p
}

func badRows(bad *builder.BadRowsError) problem {
	p := problem{Error: brief(bad), Reason: "bad_rows", BadRows: &bad.Count, Tolerated: &bad.Max}
	for _, r := range bad.Rows {
		p.Rows = append(p.Rows, problemRow{r.Line, r.Column, r.Reason, r.Text})
	}
	return p
}

// brief is an error in one line that holds nothing of a row.
func brief(err error) string {
	if errors.Is(err, builder.ErrEmpty) {
		return builder.ErrEmpty.Error()
	}
	line, _, _ := strings.Cut(explain(err), "\n")
	return line
}

// failUpload answers an upload that came to nothing, and ends its connection:
// the rest of the body is not of interest.
func (s *Server) failUpload(w http.ResponseWriter, err error) int {
	code, p := problemOf(err)
	w.Header().Set("Connection", "close")
	switch code {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusConflict:
		wait := 30 * time.Second
		if r, ok := s.work.progress(); ok {
			p.Building = &r
			if left := r.left(time.Now()); left > 0 {
				wait = left
			}
		}
		w.Header().Set("Retry-After", strconv.Itoa(min(600, 1+int(wait.Seconds()))))
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	}
	fail(w, code, p)
	return code
}

// asMalformed is err, which came of reading a form, as what it means.
func asMalformed(err error) error {
	if errors.As(err, new(*http.MaxBytesError)) || errors.Is(err, errStalled) || errors.Is(err, errCut) {
		return err
	}
	return malformed("the form is cut off or damaged: %v", err)
}

package updater

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// Limits of a request to change the pin. The file of a pin has room for a reason of
// this length, even if every character is escaped.
const (
	maxReason     = 1000 // characters
	maxPinRequest = 16 << 10
)

var (
	errLongBody = errors.New("the body is longer than " + humanize.Comma(maxPinRequest) + " bytes: shorten the reason")
	errSlowBody = errors.New("the body did not arrive in time")
	errGone     = errors.New("the client went away; nothing was changed")
)

// An unservableError reports that the directory lacks the generation to pin, or
// that it is not servable.
type unservableError struct{ cause error }

func (e *unservableError) Error() string { return e.cause.Error() }
func (e *unservableError) Unwrap() error { return e.cause }

// isUnservable reports whether err, of a change of the pin, is about the
// generation.
func isUnservable(err error) bool {
	return errors.Is(err, generation.ErrAbsent) || errors.Is(err, generation.ErrIncomplete) || errors.Is(err, generation.ErrNoneServable) ||
		errors.As(err, new(*generation.FileError)) && !fsx.IsTooManyOpen(err)
}

// A pinRequest is the JSON body of a request to change the pin. A field that is
// nil was not given.
type pinRequest struct {
	Generation *string `json:"generation"`
	Reason     *string `json:"reason"`
	UntilNewer *bool   `json:"until_newer"`
}

// pinned is the JSON body of the answer to a request that changed the pin.
type pinned struct {
	Generation string `json:"generation"` // empty: none is pinned
	Message    string `json:"message"`
}

// A pinFunc changes the pin as a request asks.
type pinFunc func(ctx context.Context, req pinRequest, change generation.PinChange) (generation.Pin, error)

// pin pins a generation that is servable, or unpins.
func (s *Server) pin(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		s.answerPin(w, r, s.unpin)
		return
	}
	s.answerPin(w, r, s.pinGeneration)
}

// rollback pins the servable generation before the one that is served.
func (s *Server) rollback(w http.ResponseWriter, r *http.Request) { s.answerPin(w, r, s.pinPrevious) }

func (s *Server) pinGeneration(ctx context.Context, req pinRequest, change generation.PinChange) (generation.Pin, error) {
	switch {
	case req.Generation == nil:
		return generation.Pin{}, malformed("the field generation is missing")
	case strings.TrimSpace(change.Reason) == "":
		return generation.Pin{}, malformed("the field reason is missing or blank")
	}
	id, err := generation.ParseID(*req.Generation)
	if err != nil {
		return generation.Pin{}, malformed("the field generation: %v", err)
	}
	return change.Pin(s.opts.Build.Dir, id, generation.AllDigits, s.verifier(ctx))
}

func (s *Server) pinPrevious(ctx context.Context, req pinRequest, change generation.PinChange) (generation.Pin, error) {
	switch {
	case req.Generation != nil:
		return generation.Pin{}, malformed("the field generation: a rollback finds the generation itself")
	case strings.TrimSpace(change.Reason) == "":
		return generation.Pin{}, malformed("the field reason is missing or blank")
	}
	return change.Rollback(ctx, s.opts.Build.Dir, s.verifier(ctx))
}

func (s *Server) unpin(_ context.Context, req pinRequest, change generation.PinChange) (generation.Pin, error) {
	if req.Generation != nil || req.UntilNewer != nil {
		return generation.Pin{}, malformed("a request to unpin has no field but reason")
	}
	return change.Unpin(s.opts.Build.Dir)
}

// verifier returns a function that verifies one generation at a time, because
// each verification takes memory. Files that were verified before are not read again.
func (s *Server) verifier(ctx context.Context) func(generation.Generation) error {
	return func(g generation.Generation) error {
		select {
		case s.verifying <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		defer func() { <-s.verifying }()
		return s.pipeline.checker.Verify(ctx, g)
	}
}

// answerPin authorizes a request to change the pin, changes it and answers.
func (s *Server) answerPin(w http.ResponseWriter, r *http.Request, do pinFunc) {
	p, err := s.changePin(w, r, do)
	code := http.StatusOK
	switch {
	case err == nil:
		reply(w, code, pinned{idText(p), p.Message()})
	case errors.Is(err, errGone):
		code = statusGone
	default:
		code = s.reject(w, err, nil)
	}
	s.pipeline.counters.countPin(code)
}

func (s *Server) changePin(w http.ResponseWriter, r *http.Request, do pinFunc) (generation.Pin, error) {
	if err := s.auth.check(r); err != nil {
		s.refusals.refuse(r, err)
		return generation.Pin{}, err
	}
	if s.draining.Load() {
		return generation.Pin{}, errClosed
	}
	req, err := readPinRequest(w, r)
	if err != nil {
		return generation.Pin{}, err
	}
	change := generation.PinChange{By: authorOf(r)}
	if req.Reason != nil {
		if change.Reason = *req.Reason; utf8.RuneCountInString(change.Reason) > maxReason {
			return generation.Pin{}, malformed("the field reason is longer than %s characters", humanize.Comma(maxReason))
		}
	}
	if req.UntilNewer != nil {
		change.UntilNewer = *req.UntilNewer
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.pipeline.ctx, func() { cancel(errStopped) })()
	p, err := do(ctx, req, change)
	switch {
	case err != nil && r.Context().Err() != nil:
		err = errGone
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	case isUnservable(err):
		err = &unservableError{err}
	}
	if err != nil {
		s.log.Warn("pin not changed", "client", r.RemoteAddr, "request", r.Method+" "+r.URL.Path, "error", err)
		return p, err
	}
	s.log.Info("pin changed", "client", r.RemoteAddr, "by", p.By, "generation", idText(p), "until_newer", p.UntilNewer, "reason", p.Reason)
	return p, nil
}

// idText returns the ID of the pinned generation, or "" if p pins none.
func idText(p generation.Pin) string {
	if p.Active {
		return p.ID.String()
	}
	return ""
}

// readPinRequest reads the body of r. It requires JSON, which no form of a page
// sends; a request to unpin may have no body.
func readPinRequest(w http.ResponseWriter, r *http.Request) (req pinRequest, err error) {
	value := r.Header.Get("Content-Type")
	mediaType, _, _ := mime.ParseMediaType(value)
	isEmpty := r.Method == http.MethodDelete && value == "" && r.ContentLength == 0
	if mediaType != "application/json" && !isEmpty {
		return req, &unsupportedError{"the Content-Type is not application/json", "Accept", "application/json"}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPinRequest))
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return req, errLongBody
	case errors.Is(err, os.ErrDeadlineExceeded):
		return req, errSlowBody
	case err != nil:
		return req, malformed("the body: %v", err)
	case isEmpty:
		return req, nil
	}
	// From here on the connection is only read to notice that the client goes away.
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		return req, err
	}
	if !bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{")) {
		return req, malformed("the body is not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, malformed("the body: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return req, malformed("the body: text follows the JSON object")
	}
	return req, nil
}

// authorOf returns the author of a change that r asks for: the subject of the
// certificate of the client, or else the updater with the address of the client.
func authorOf(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		if subject := r.TLS.VerifiedChains[0][0].Subject.String(); subject != "" {
			return subject
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "updater for " + host
}

package updater

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"

	"promostore/builder"
)

var (
	errStopped = errors.New("the updater was stopped") // Shutdown interrupted the build
	errStalled = errors.New("the upload has stalled")  // the client sends too slowly
	errCut     = errors.New("the upload was cut off")  // the body ended early or violates HTTP
)

// A TooLargeError reports an upload that exceeds Options.MaxUpload.
type TooLargeError struct{ Limit int64 } // bytes

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the upload is larger than %s bytes", humanize.Comma(e.Limit))
}

// A malformedError reports a request that the updater does not understand.
type malformedError struct{ reason string }

func (e *malformedError) Error() string { return e.reason }

func malformed(format string, args ...any) error {
	return &malformedError{fmt.Sprintf(format, args...)}
}

// A Hint names a setting of the program that accepts a rejected data set.
type Hint struct {
	Flag string // for example "--max-upload"
	Text string // what to do, to follow the error after a semicolon
}

// appendTo returns text followed by the hint: on the same line if text has one.
func (h Hint) appendTo(text string) string {
	switch {
	case h.Text == "":
		return text
	case strings.Contains(text, "\n"):
		return text + "\n" + h.Text
	}
	return text + "; " + h.Text
}

// hintFor returns the hint for err, the zero Hint if there is none.
func (p *pipeline) hintFor(err error) Hint {
	if p.hint == nil {
		return Hint{}
	}
	return p.hint(err)
}

// outcomeOf returns the outcome of a build that returned err.
func outcomeOf(err error) string {
	switch {
	case err == nil:
		return outcomePublished
	case errors.As(err, new(*builder.BadRowsError)):
		return outcomeBadRows
	case isRefusal(err), isUnreadable(err):
		return outcomeRefused
	case isNoSpace(err):
		return outcomeNoSpace
	case errors.Is(err, errStopped), errors.Is(err, errStalled), errors.Is(err, errCut):
		return outcomeInterrupted
	case isChange(err):
		return outcomeChanged
	}
	return outcomeFailed
}

// isRefusal reports whether the data set was read without an error and refused
// as a whole.
func isRefusal(err error) bool {
	return errors.As(err, new(*builder.GuardError)) || errors.As(err, new(*builder.ContentError)) || errors.As(err, new(*builder.DuplicatesError)) || errors.Is(err, builder.ErrEmpty) ||
		errors.As(err, new(*builder.KindError)) || errors.Is(err, builder.ErrUnterminated)
}

// isUnreadable reports whether the data set cannot be read because of its sender:
// a malformed upload, damaged or excessive data.
func isUnreadable(err error) bool {
	return errors.As(err, new(*malformedError)) || errors.As(err, new(*unsupportedError)) || errors.As(err, new(*TooLargeError)) ||
		errors.As(err, new(*builder.CompressionError)) || errors.Is(err, builder.ErrExpansion) || errors.Is(err, builder.ErrNoRows)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// brief returns the first line of err. The following lines quote rows of the data
// set.
func brief(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

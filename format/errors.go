package format

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// The kinds of damage. An error of Open or Verify wraps exactly one of these,
// with the offset in the file, or an error of the underlying reader.
var (
	ErrFormat    = errors.New("not a generation file")
	ErrVersion   = errors.New("unsupported version of the format")
	ErrTruncated = errors.New("wrong file length")
	ErrChecksum  = errors.New("wrong checksum")
	ErrCorrupt   = errors.New("damaged")
	ErrOrder     = errors.New("ids out of order")
)

// A SyntaxError reports why a text is not an id, a price or a date.
type SyntaxError struct {
	Offset int    // in the text, of the first wrong byte or the number out of range
	Reason string // for people, without a full stop
}

func (e *SyntaxError) Error() string { return e.Reason }

func syntaxError(off int, format string, args ...any) error {
	return &SyntaxError{Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// charAt returns the character that begins at b[i], for a SyntaxError.
func charAt(b []byte, i int) rune {
	r, _ := utf8.DecodeRune(b[i:])
	return r
}

// characters returns a number of characters in words, for a SyntaxError.
func characters(n int) string {
	if n == 1 {
		return "1 character"
	}
	return fmt.Sprintf("%d characters", n)
}

// corrupt wraps kind with an offset in the file and a description.
func corrupt[I int | int64](kind error, off I, format string, args ...any) error {
	return fmt.Errorf("%w: at offset %d: %s", kind, off, fmt.Sprintf(format, args...))
}

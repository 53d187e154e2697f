package format

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What can be wrong with a file. Errors of Open and Verify wrap exactly one of
// these, or an error of the underlying reader, and say at which offset.
var (
	ErrFormat    = errors.New("not a generation file")
	ErrVersion   = errors.New("another version of the format")
	ErrTruncated = errors.New("not the length that its header says")
	ErrChecksum  = errors.New("wrong checksum")
	ErrCorrupt   = errors.New("damaged")
	ErrOrder     = errors.New("ids out of order")
)

// A SyntaxError says why a text is no id, price or date.
type SyntaxError struct {
	Offset int    // in the text: of the first wrong byte, or of the number or name that is out of bounds
	Reason string // a sentence without its full stop
}

func (e *SyntaxError) Error() string { return e.Reason }

func syntaxError(off int, format string, args ...any) error {
	return &SyntaxError{Offset: off, Reason: fmt.Sprintf(format, args...)}
}

// charAt is the character that begins at b[i], for the reason of an error.
func charAt(b []byte, i int) rune {
	r, _ := utf8.DecodeRune(b[i:])
	return r
}

// corrupt wraps kind with the offset in the file and what was found there.
func corrupt[I int | int64](kind error, off I, format string, args ...any) error {
	return fmt.Errorf("%w: at offset %d: %s", kind, off, fmt.Sprintf(format, args...))
}

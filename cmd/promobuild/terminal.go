package main

import (
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// A terminal cuts the lines that are written to it at its width, which may change
// between writes. A longer line would be continued on the next one, and a carriage
// return would not erase all of it.
type terminal struct {
	file   *os.File
	column int // of the cursor
}

// Write writes the part of p that fits. An escape sequence takes no column.
func (t *terminal) Write(p []byte) (int, error) {
	width, _, err := term.GetSize(int(t.file.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	var fit []byte
	for rest := p; len(rest) > 0; {
		n := escapeLen(rest)
		switch {
		case n > 0:
			fit = append(fit, rest[:n]...)
		case rest[0] == '\r' || rest[0] == '\n':
			n, t.column = 1, 0
			fit = append(fit, rest[0])
		default:
			_, n = utf8.DecodeRune(rest)
			if t.column < width-1 { // the cursor stays on the line
				fit = append(fit, rest[:n]...)
				t.column++
			}
		}
		rest = rest[n:]
	}
	if _, err := t.file.Write(fit); err != nil {
		return 0, err
	}
	return len(p), nil
}

// escapeLen returns the length of the control sequence that p begins with, such as
// ESC [ 2 K, or 0.
func escapeLen(p []byte) int {
	if len(p) < 2 || p[0] != '\x1b' || p[1] != '[' {
		return 0
	}
	for i, c := range p[2:] {
		if c >= '@' && c <= '~' {
			return i + 3
		}
	}
	return len(p)
}

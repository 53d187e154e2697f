// Package escape makes text from untrusted sources, such as the names of files,
// safe to print: without characters that control a terminal or change the order
// of the text.
package escape

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Name returns s on one line. It replaces unprintable characters and invalid
// bytes by their escape sequences in Go.
func Name(s string) string { return escape(s, "") }

// Text is like Name, but keeps line ends and tabs.
func Text(s string) string { return escape(s, "\n\t") }

func escape(s, keep string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		c := s[i : i+n]
		i += n
		switch {
		case r == utf8.RuneError && n == 1, !unicode.IsPrint(r) && !strings.ContainsRune(keep, r):
			quoted := strconv.Quote(c)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(c)
		}
	}
	return b.String()
}

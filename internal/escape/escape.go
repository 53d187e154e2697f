// Package escape makes text from untrusted sources, such as the names of files,
// safe to print: without characters that control a terminal or change the order
// of the text.
package escape

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
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

// JSON returns a JSON text without unprintable characters in its strings, whose
// values remain the same. encoding/json and log/slog escape only those below a
// space, U+2028 and U+2029. JSON returns text itself if it changes nothing.
func JSON(text []byte) []byte {
	i := bytes.IndexFunc(text, isUnprintable)
	if i < 0 {
		return text
	}
	b := slices.Clone(text[:i])
	for _, r := range string(text[i:]) {
		switch {
		case !isUnprintable(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// isUnprintable reports whether r must be escaped in JSON. Line ends and tabs are
// not part of a string.
func isUnprintable(r rune) bool {
	return r >= utf8.RuneSelf && !unicode.IsPrint(r) || r == 0x7f
}

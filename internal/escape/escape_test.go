package escape_test

import (
	"testing"

	"promostore/internal/escape"
)

func TestEscape(t *testing.T) {
	for _, c := range []struct{ text, name, kept string }{
		{"März 1.csv", "März 1.csv", "März 1.csv"},
		{"", "", ""},
		{`a"\b`, `a"\b`, `a"\b`},
		{"\x1b[2J.csv", `\x1b[2J.csv`, `\x1b[2J.csv`},
		{"a\nb\tc\rd", `a\nb\tc\rd`, "a\nb\tc\\rd"},
		{"\u009b2J", `\u009b2J`, `\u009b2J`},
		{"\u202evsc.exe", `\u202evsc.exe`, `\u202evsc.exe`},
		{"a\xffb\x9bc", `a\xffb\x9bc`, `a\xffb\x9bc`},
		{"\x7f\x00", `\x7f\x00`, `\x7f\x00`},
		{"\ufffd", "\ufffd", "\ufffd"},
	} {
		if got := escape.Name(c.text); got != c.name {
			t.Errorf("Name(%q) is %q, want %q", c.text, got, c.name)
		}
		if got := escape.Text(c.text); got != c.kept {
			t.Errorf("Text(%q) is %q, want %q", c.text, got, c.kept)
		}
	}
}

package escape_test

import (
	"encoding/json"
	"testing"
	"unicode"

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

func TestJSONKeepsValues(t *testing.T) {
	for _, text := range []string{"", "plain", "März", "\u009b2J", "\u202evsc.exe", "\u2066a\u2069", "\x7f", "\ufeff", "a\U000e0041b", "\x1b[2J\n", "😀", "\u00a0"} {
		in, err := json.Marshal(map[string]string{"k": text})
		if err != nil {
			t.Fatal(err)
		}
		out := escape.JSON(append(in, '\n'))
		var got map[string]string
		if err := json.Unmarshal(out, &got); err != nil || got["k"] != text {
			t.Errorf("JSON(%q) is %q: %v", in, out, err)
		}
		for _, r := range string(out) {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("JSON(%q) has %U", in, r)
			}
		}
	}
	plain := []byte("{\"k\": \"März\"}\n")
	if out := escape.JSON(plain); &out[0] != &plain[0] {
		t.Error("a text without unprintable characters is copied")
	}
}

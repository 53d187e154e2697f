package format_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"promostore/format"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// checkKey compares ParseKey with google/uuid and encoding/hex, and AppendText
// with text.
func checkKey(tb rapid.TB, text string) {
	tb.Helper()
	k, upper, err := format.ParseKey([]byte(text))
	want, wantErr := uuid.Parse(text)
	if len(text) != format.TextLen {
		wantErr = errors.New("uuid accepts other forms too")
	}
	if wantErr != nil {
		if err == nil {
			tb.Fatalf("ParseKey(%q) = %s, want an error", text, k)
		}
		checkSyntaxError(tb, text, err)
		return
	}
	if err != nil {
		tb.Fatalf("ParseKey(%q): %v", text, err)
	}
	if raw, _ := hex.DecodeString(strings.ReplaceAll(text, "-", "")); k != format.KeyAt(raw) || k != format.KeyAt(want[:]) {
		tb.Fatalf("ParseKey(%q) = %s", text, k)
	}
	if wantUpper := text == strings.ToUpper(text) && text != strings.ToLower(text); upper != wantUpper {
		tb.Fatalf("ParseKey(%q): upper is %t, want %t", text, upper, wantUpper)
	}
	canonical := strings.ToLower(text)
	if upper {
		canonical = text
	}
	if got := string(k.AppendText([]byte("x"), upper)); got != "x"+canonical {
		tb.Fatalf("AppendText: %q, want %q", got, "x"+canonical)
	}
}

// checkSyntaxError checks the properties of every *SyntaxError and returns its
// offset.
func checkSyntaxError(tb rapid.TB, text string, err error) int {
	tb.Helper()
	var syntax *format.SyntaxError
	if !errors.As(err, &syntax) {
		tb.Fatalf("%q: %v is not a *SyntaxError", text, err)
	}
	if syntax.Offset < 0 || syntax.Offset > len(text) {
		tb.Fatalf("%q: offset %d outside the text", text, syntax.Offset)
	}
	if syntax.Reason == "" || strings.HasSuffix(syntax.Reason, ".") || len(syntax.Reason) > 500 {
		tb.Fatalf("%q: reason %q", text, syntax.Reason)
	}
	if strings.Contains(syntax.Reason, "%!") && !strings.Contains(text, "%") {
		tb.Fatalf("%q: badly formatted reason %q", text, syntax.Reason)
	}
	return syntax.Offset
}

func genKey() *rapid.Generator[format.Key] {
	return rapid.Custom(func(t *rapid.T) format.Key {
		return format.Key{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	})
}

// genKeyText draws an id in upper, lower or mixed case.
func genKeyText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		text := genKey().Draw(t, "key").AppendText(nil, rapid.Bool().Draw(t, "upper"))
		if rapid.Bool().Draw(t, "mixed") {
			mixed := rapid.Uint64().Draw(t, "which")
			for i := range text {
				if text[i] >= 'A' && mixed>>i&1 == 1 {
					text[i] ^= 0x20
				}
			}
		}
		return string(text)
	})
}

func TestParseKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkKey(t, genKeyText().Draw(t, "text")) })
}

// TestParseKeyEveryByte replaces each byte by each value, because the parser has
// a table entry for each pair.
func TestParseKeyEveryByte(t *testing.T) {
	for _, valid := range []string{
		"172ffc14-d229-4c93-b06b-f48b8c095512",
		"FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
		"00000000-0000-0000-0000-000000000000",
	} {
		for i := range valid {
			for c := range 256 {
				text := []byte(valid)
				text[i] = byte(c)
				checkKey(t, string(text))
			}
		}
	}
}

// TestParseKeyTwoBytes replaces two bytes, whose errors could cancel out.
func TestParseKeyTwoBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(genKeyText().Draw(t, "text"))
		for range 2 {
			text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		checkKey(t, string(text))
	})
}

func TestParseKeyErrorOffset(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(genKeyText().Draw(t, "text"))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		text[at] = rapid.SampledFrom([]byte("gG/:@`_ \x00\xad\xb0\xff{}")).Draw(t, "byte")
		_, _, err := format.ParseKey(text)
		if got := checkSyntaxError(t, string(text), err); got != at {
			t.Fatalf("ParseKey(%q): offset %d, want %d", text, got, at)
		}
	})
	valid := "172ffc14-d229-4c93-b06b-f48b8c095512"
	for n := range len(valid) {
		_, _, err := format.ParseKey([]byte(valid[:n]))
		if got := checkSyntaxError(t, valid[:n], err); got != n {
			t.Errorf("id cut to %d bytes: offset %d", n, got)
		}
	}
	_, _, err := format.ParseKey([]byte(valid + "0"))
	if got := checkSyntaxError(t, valid+"0", err); got != len(valid) {
		t.Errorf("id with a further byte: offset %d, want %d", got, len(valid))
	}
}

func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genKey().Draw(t, "a"), genKey().Draw(t, "b")
		if rapid.Bool().Draw(t, "same half") {
			b.Hi = a.Hi
		}
		want := strings.Compare(a.String(), b.String())
		if got := a.Compare(b); got != want {
			t.Fatalf("Compare(%s, %s) = %d, want %d", a, b, got, want)
		}
		if got := a.Less(b); got != (want < 0) {
			t.Fatalf("Less(%s, %s) = %t", a, b, got)
		}
		prefix := 0
		for prefix < 128 && bit(a, prefix) == bit(b, prefix) {
			prefix++
		}
		if got := a.CommonPrefix(b); got != prefix {
			t.Fatalf("CommonPrefix(%s, %s) = %d, want %d", a, b, got, prefix)
		}
	})
}

func bit(k format.Key, i int) bool {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, k.Hi), k.Lo)
	return b[i/8]>>(7-i%8)&1 == 1
}

func TestKeyAt(t *testing.T) {
	raw := bytes.Repeat([]byte{0, 0x80, 0xFF, 0x7F}, 4)
	if got, want := format.KeyAt(append(raw, 1)).String(), "0080ff7f-0080-ff7f-0080-ff7f0080ff7f"; got != want {
		t.Errorf("KeyAt: %s, want %s", got, want)
	}
}

func FuzzParseKey(f *testing.F) {
	for _, text := range []string{
		"172FFC14-D229-4C93-B06B-F48B8C095512",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e57118",
		"d018ef0bdbd948f1ac1aeb4d90e57118",
		"{d018ef0b-dbd9-48f1-ac1a-eb4d90e57118}",
		"urn:uuid:d018ef0b-dbd9-48f1-ac1a-eb4d90e57118",
		"D018ef0b-dbd9-48f1-ac1a-eb4d90e57118",
		"d018ef0b_dbd9-48f1-ac1a-eb4d90e57118",
		"test", "1", "",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkKey(t, text) })
}

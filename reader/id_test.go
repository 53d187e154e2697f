package reader_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"promostore/format"
	"promostore/reader"
)

func TestParseID(t *testing.T) {
	want := format.Key{Hi: 0x172FFC14D2294C93, Lo: 0xB06BF48B8C095512}
	const canonical = "172ffc14-d229-4c93-b06b-f48b8c095512"
	for _, s := range []string{
		canonical,
		"172ffc14d2294c93b06bf48b8c095512",
		"{" + canonical + "}",
		"urn:uuid:" + canonical,
		"URN:UUID:" + canonical,
		"uRn:UuId:" + canonical,
		"172FFc14-D229-4c93-b06b-F48B8C095512",
	} {
		for _, s := range []string{s, strings.ToUpper(s)} {
			if k, ok := reader.ParseID([]byte(s)); !ok || k != want {
				t.Errorf("ParseID(%q) = %v, %t", s, k, ok)
			}
		}
	}
	for _, s := range []string{
		"", "test", "1", "{}", "urn:uuid:",
		canonical[:35], canonical + "0",
		"(" + canonical + ")", "{" + canonical + ")", "\"" + canonical + "\"", "{" + canonical, canonical + "}",
		"{" + canonical + " ", " " + canonical, canonical + "\n",
		"urn:uuid:" + canonical[:35], "urn:uuld:" + canonical, "urn-uuid-" + canonical,
		"urn:uuid:172ffc14d2294c93b06bf48b8c095512", "{172ffc14d2294c93b06bf48b8c095512}",
		"172ffc14-d229-4c93-b06b-f48b8c09551g", "172ffc14_d229_4c93_b06b_f48b8c095512",
		"172ffc14d-229-4c93-b06b-f48b8c095512", "172ffc14d2294c93b06bf48b8c09551g",
		"172ffc14\xA0d229\xA04c93\xA0b06b\xA0f48b8c095512",
	} {
		if k, ok := reader.ParseID([]byte(s)); ok {
			t.Errorf("ParseID(%q) = %v", s, k)
		}
	}
}

// FuzzParseID compares ParseID with package uuid, which accepts any two
// characters instead of braces.
func FuzzParseID(f *testing.F) {
	const canonical = "172FFC14-d229-4c93-b06b-f48b8c095512"
	for _, s := range []string{canonical, "{" + canonical + "}", "urn:uuid:" + canonical, strings.ReplaceAll(canonical, "-", ""), "(" + canonical + ")", "test"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := reader.ParseID(text)
		u, err := uuid.ParseBytes(text)
		want := err == nil
		if n := len(text); n == 38 && (text[0] != '{' || text[n-1] != '}') {
			want = false
		}
		if ok != want || ok && got != format.KeyAt(u[:]) {
			t.Errorf("ParseID(%q) = %v, %t; package uuid: %v, %v", text, got, ok, u, err)
		}
	})
}

package page

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"promostore/web"
)

var update = flag.Bool("update", false, "write testdata/page.html again")

func ptr[T any](v T) *T { return &v }

// at returns a time of the day of the sample.
func at(hour, minute int) time.Time {
	return time.Date(2026, 11, 27, hour, minute, 0, 0, time.UTC)
}

func sample() *View {
	v := &View{
		Program: "promobuild updater", Now: at(10, 12),
		Status: web.Status{
			Version: "1.4.0", Uptime: 86400 * 3.2, Live: ptr("20261127T093000000Z"), Pinned: ptr("20261127T093000000Z"), Newest: ptr("20261127T100000000Z"),
			Records: ptr(uint64(199900)), Bytes: ptr(int64(6431232)), Shards: ptr(uint32(16)), Age: ptr(720.0), Refused: 1, Swaps: 48,
			Details: &web.Details{By: "ana", Reason: "wrong prices", RefusedFiles: []web.RefusedFile{{File: "promotions-20261127T100000000Z.pgen", Error: "block 17: checksum differs"}}},
		},
		Query: "172FFC14-D229-4C93-B06B-F48B8C095512",
		Lookup: &Lookup{ID: "172FFC14-D229-4C93-B06B-F48B8C095512", Now: `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`, Entries: []Entry{
			{Generation: "20261127T100000000Z", Found: true, Price: "12.345678", Change: "+27.5 %", ChangeClass: "up", ExpirationDate: "2022-06-04 06:01:20"},
			{Generation: "20261127T093000000Z", Live: true, States: []string{"live", "pinned"}, Found: true, Price: "9.68", ExpirationDate: "2022-06-04 06:01:20", Expired: true},
			{Generation: "20261127T090000000Z"},
		}},
		Generations: []Generation{
			{Generation: "20261127T100000000Z", States: []string{"refused"}, Created: at(10, 0), Error: "block 17: checksum differs"},
			{Generation: "20261127T093000000Z", States: []string{"live", "pinned"}, Live: true, Created: at(9, 30), Records: ptr(uint64(199900)), Bytes: 6431232, Build: "upload, 200,000 rows, 3 bad, 97 duplicates, 0.4 s", BadRows: &BadRows{Title: "the first 1 of 3 bad rows", Rows: []BadRow{{"upload", 1, 4, "not an id", "id,price,x"}}}},
			{Generation: "20261127T090000000Z", Created: at(9, 0), Records: ptr(uint64(199900)), Bytes: 6431232},
		},
		From: "20261127T090000000Z", To: "20261127T093000000Z",
		Comparison: &Comparison{From: "20261127T090000000Z", To: "20261127T093000000Z", Added: 12, Removed: 3, Changed: 1, Same: 199884, Changes: []Change{{"changed", "172FFC14-D229-4C93-B06B-F48B8C095512", "9.5", "9.68", "2022-06-04 06:01:20", "2022-06-04 06:01:20"}, {"added", "272FFC14-D229-4C93-B06B-F48B8C095512", "", "1.00", "", "2022-06-04"}}},
		Updater: &Updater{Token: true, Private: true, Building: &Building{"Building promotions.csv.gz", "sort: 1,000,000 rows", 54},
			Inbox:  &Inbox{Waiting: 1, Failed: 1, Done: 12, Names: []string{"next.csv"}},
			Builds: []Build{{at(9, 30), "upload", "10.0.0.7", "published", "good", "generation 20261127T093000000Z", nil}, {at(9, 0), "inbox", "x.csv", "bad rows", "bad", "2 bad rows, 0 tolerated", &BadRows{Title: "2 bad rows", Inputs: true, Rows: []BadRow{{"x.csv", 1, 4, "not an id", "id,price,x"}, {"y.csv", 1, 4, "not an id", "id,price,x"}}}}}},
		Activity: &Activity{},
	}
	for i := range v.Activity.Minutes {
		v.Activity.Minutes[i] = Minute{Requests: uint64(60000 + 1000*((i*7)%13)), P50: 60e-6, P99: 0.0002 + float64(i%7)*5e-5}
	}
	return v
}

// TestPageIsGolden compares the page of a fixed state.
func TestPageIsGolden(t *testing.T) {
	text := regexp.MustCompile(`assets/[0-9a-f]+/`).ReplaceAllString(render(t, sample()), "assets/CHECKSUM/")
	const path = "testdata/page.html"
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the page differs from %s; compare it in a browser, then run make golden", path)
	}
}

func render(t *testing.T, v *View) string {
	t.Helper()
	var b strings.Builder
	if err := Render(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// fill gives each text of v the value evil.
func fill(v reflect.Value, evil string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(evil)
	case reflect.Pointer:
		if !v.IsNil() {
			fill(v.Elem(), evil)
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), evil)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), evil)
			}
		}
	}
}

// TestHostileTexts gives all texts of a view hostile values. None becomes markup or
// part of a script or address, and none controls the text around it.
func TestHostileTexts(t *testing.T) {
	filled := func(text string) string {
		v := sample()
		fill(reflect.ValueOf(v).Elem(), text)
		return render(t, v)
	}
	want := tags(filled("harmless"))
	for _, evil := range []string{
		`"><script>alert(1)</script>`, `' onfocus='alert(1)`, `" onfocus="alert(1)" x="`, "javascript:alert(1)", "</code><img src=x onerror=alert(1)>",
		"<!--alert(1)", "-->alert(1)", "]]>alert(1)", "{{alert(1)}}", "`alert(1)`", "\u202ealert(1)\u2066", "\x1b[31malert(1)\x00", "alert(1)\xff\u00a0", "alert(1)\nSet-Cookie: x",
		"//evil.example/alert(1)", "&lt;alert(1)", "data:text/html,alert(1)",
	} {
		text := filled(evil)
		if n := strings.Count(text, "alert"); n < 40 {
			t.Errorf("%q: the page has %d of the texts", evil, n)
		}
		for _, c := range text {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%q: the page has %U", evil, c)
			}
		}
		got := tags(text)
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] || len(got) != len(want) {
				t.Errorf("%q: tag %d of %d is %q, want %q of %d", evil, i, len(got), got[i], want[i], len(want))
				break
			}
		}
		for _, address := range regexp.MustCompile(` (?:href|src|action)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`^(#|\./|assets/|openapi\.json$|\?id=[A-Za-z0-9%._~-]*#)`).MatchString(address[1]) {
				t.Errorf("%q: the page has the address %q", evil, address[1])
			}
		}
	}
}

// tags returns the tags of a page with the names of their attributes.
func tags(page string) (list []string) {
	for _, tag := range regexp.MustCompile(`<[^\s>]+(?:\s+[^\s=>"']+(?:="[^"]*")?)*\s*/?>|<`).FindAllString(page, -1) {
		list = append(list, regexp.MustCompile(`="[^"]*"`).ReplaceAllString(tag, "="))
	}
	return list
}

// TestPageFollowsItsPolicy looks for what the Content-Security-Policy forbids: scripts
// and styles in the page, and anything of another site.
func TestPageFollowsItsPolicy(t *testing.T) {
	pages := map[string]string{"page": render(t, sample()), "empty page": render(t, &View{}), "busy": string(busy)}
	for name, text := range pages {
		for _, forbidden := range []string{`(?i)<script[^>]*>[^<]`, `(?i)<style`, `(?i)\sstyle\s*=`, `(?i)<[^>]*\son[a-z]+\s*=`, `(?i)(src|href|action)="[a-z]*:?//`, `(?i)<(base|iframe|object|embed)`} {
			if found := regexp.MustCompile(forbidden).FindString(text); found != "" {
				t.Errorf("%s has %q", name, found)
			}
		}
		for _, asset := range regexp.MustCompile(`"(assets/[^"]*)"`).FindAllStringSubmatch(text, -1) {
			a, ok := FindAsset("/" + asset[1])
			if !ok || len(a.Body) == 0 || a.ContentType == "" || !strings.Contains(a.CacheControl, "immutable") {
				t.Errorf("%s: asset %s: %t %v", name, asset[1], ok, a.ContentType)
			}
		}
	}
	for _, path := range []string{"/", "", "/assets/", "/assets/page.css", "/assets/000000000000/page.css", "/assets/../page.go"} {
		if _, ok := FindAsset(path); ok {
			t.Errorf("an asset at %q", path)
		}
	}
}

func TestPriceChange(t *testing.T) {
	for _, c := range []struct{ from, to, text, class string }{
		{"10", "12.75", "+27.5 %", "up"}, {"12.345678", "8.06", "−34.7 %", "down"}, {"1", "1.000", "", ""}, {"0", "1", "", ""}, {"", "", "", ""},
		{"100", "100.01", "+<0.1 %", "up"}, {"1", "0", "−100.0 %", "down"}, {"1", "124.45", "+12,345 %", "up"}, {"-2", "-1", "+50.0 %", "up"},
		{"0.000000000001", "1234567890", "+1.2e+23 %", "up"}, {"-1", "1", "+200.0 %", "up"},
	} {
		if text, class := change(json.Number(c.from), json.Number(c.to)); text != c.text || class != c.class {
			t.Errorf("from %s to %s: %q %s, want %q %s", c.from, c.to, text, class, c.text, c.class)
		}
	}
}

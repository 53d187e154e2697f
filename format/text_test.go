package format_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"promostore/format"

	"pgregory.net/rapid"
)

// checkJSON decodes the JSON of r with encoding/json and compares the date with
// package time.
func checkJSON(tb rapid.TB, s format.JSONOptions, r *format.Record, styles []format.TimestampStyle) {
	tb.Helper()
	b := s.AppendJSON(nil, r, styles)
	if len(b) > format.MaxJSONLen {
		tb.Fatalf("%d bytes of JSON, above %d: %s", len(b), format.MaxJSONLen, b)
	}
	var got struct {
		ID    string      `json:"id"`
		Price json.Number `json:"price"`
		Date  string      `json:"expiration_date"`
	}
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		tb.Fatalf("%v: %s", err, b)
	}
	if want := string(r.Key().AppendText(nil, r.Upper())); got.ID != want {
		tb.Fatalf("id %s, want %s", got.ID, want)
	}
	price := r.Price()
	price.Zeros = int(styles[r.Style()].Zeros)
	if want := string(price.AppendText(nil, s.Decimals)); got.Price.String() != want {
		tb.Fatalf("price %s, want %s", got.Price, want)
	}
	style := styles[r.Style()]
	seconds := r.Seconds()
	wall := yearZero.AddDate(0, 0, int(seconds/86400)).Add(time.Duration(seconds%86400) * time.Second)
	at := time.FixedZone(style.Abbr, int(style.Offset()))
	local := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, at)
	var want string
	switch s.Date {
	case format.DateSource:
		want = string(style.AppendDate(nil, seconds))
	case format.DateUTC:
		want = local.UTC().Format(time.DateTime)
	case format.DateRFC3339:
		want = local.Format("2006-01-02T15:04:05-07:00")
		if style.Layout == format.LayoutWall || style.Layout == format.LayoutUTC || style.Layout > format.LayoutRFC3339 && !strings.ContainsAny(style.Abbr, "+-") {
			want = local.UTC().Format("2006-01-02T15:04:05Z")
		} else if style.Negative && style.Minutes == 0 {
			want = strings.Replace(want, "+00:00", "-00:00", 1) // package time has no negative zero
		}
	default:
		want = local.Format(time.DateTime)
	}
	if got.Date != want {
		tb.Fatalf("date format %s, %d seconds in %+v: %q, want %q", s.Date, seconds, style, got.Date, want)
	}
}

func genPrice() *rapid.Generator[format.Price] {
	return rapid.Custom(func(t *rapid.T) format.Price {
		return format.Price{
			Negative: rapid.Bool().Draw(t, "negative"),
			Digits:   rapid.Uint64Max(1e16-1).Draw(t, "digits"),
			Scale:    rapid.IntRange(0, format.MaxScale).Draw(t, "scale"),
		}
	})
}

func TestAppendJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		styles := rapid.SliceOfN(genStyle(), 1, 3).Draw(t, "styles")
		styles[0].Zeros = uint8(rapid.IntRange(0, format.MaxZeros).Draw(t, "zeros"))
		r := format.MakeRecord(
			genKey().Draw(t, "key"), rapid.Bool().Draw(t, "upper"), genPrice().Draw(t, "price"),
			genSeconds().Draw(t, "seconds"), uint16(rapid.IntRange(0, len(styles)-1).Draw(t, "style")))
		for date := format.DateWall; date <= format.DateRFC3339; date++ {
			checkJSON(t, format.JSONOptions{Date: date, Decimals: rapid.IntRange(-1, 20).Draw(t, "decimals")}, &r, styles)
		}
	})
}

// TestJSONEdges checks values that random records rarely have: years that an
// offset moves beyond the calendar, and the longest texts.
func TestJSONEdges(t *testing.T) {
	for _, seconds := range []uint64{0, 86399, maxSeconds - 86399, maxSeconds} {
		for _, negative := range []bool{false, true} {
			styles := []format.TimestampStyle{{Layout: format.LayoutOffsetAbbr, Negative: negative, Minutes: 23*60 + 59, Abbr: strings.Repeat("Z", 63), Zeros: format.MaxZeros}}
			price := format.Price{Negative: true, Digits: 1e16 - 1, Scale: format.MaxScale}
			r := format.MakeRecord(format.Key{}, false, price, seconds, 0)
			for date := format.DateWall; date <= format.DateRFC3339; date++ {
				checkJSON(t, format.JSONOptions{Date: date, Decimals: -1}, &r, styles)
			}
		}
	}
}

func TestRecordFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, upper, price := genKey().Draw(t, "key"), rapid.Bool().Draw(t, "upper"), genPrice().Draw(t, "price")
		seconds, style := genSeconds().Draw(t, "seconds"), rapid.Uint16().Draw(t, "style")
		r := format.MakeRecord(key, upper, price, seconds, 7)
		r.SetStyle(style)
		if r != format.MakeRecord(key, upper, price, seconds, style) {
			t.Fatal("SetStyle changes another field")
		}
		if r.Key() != key || r.Upper() != upper || r.Price() != price || r.Seconds() != seconds || r.Style() != int(style) {
			t.Fatalf("the fields differ from %s, %t, %+v, %d, %d", key, upper, price, seconds, style)
		}
		if !r.Validate(int(style)+1) || r.Validate(int(style)) {
			t.Fatal("Validate is wrong about the style")
		}
	})
}

func TestDateFormat(t *testing.T) {
	for f := format.DateWall; f <= format.DateRFC3339; f++ {
		if got, err := format.ParseDateFormat(f.String()); got != f || err != nil {
			t.Errorf("ParseDateFormat(%q) = %v, %v", f, got, err)
		}
	}
	if f, err := format.ParseDateFormat("local"); err == nil {
		t.Errorf("ParseDateFormat of an unknown name: %v", f)
	}
}

func TestAllocs(t *testing.T) {
	r := format.MakeRecord(format.Key{Hi: 1}, true, format.Price{Digits: 968, Scale: 2}, 63821634080, 0)
	styles := []format.TimestampStyle{{Layout: format.LayoutOffsetAbbr, Minutes: 120, Abbr: "CEST"}}
	buf := make([]byte, 0, format.MaxJSONLen)
	id, price, date := []byte("172FFC14-D229-4C93-B06B-F48B8C095512"), []byte("9.68"), []byte("2022-06-04 06:01:20 +0200 CEST")
	for name, f := range map[string]func(){
		"AppendJSON": func() { format.DefaultJSONOptions.AppendJSON(buf, &r, styles) },
		"AppendCSV":  func() { r.AppendCSV(buf, styles, ',') },
		"ParseKey":   func() { _, _, _ = format.ParseKey(id) },
		"ParsePrice": func() { _, _ = format.ParsePrice(price) },
		"ParseDate":  func() { _, _, _, _ = format.ParseDate(date) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAppendFieldsIsPartOfAppendJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genDataSet(3).Draw(t, "data set")
		opts := format.JSONOptions{Date: format.DateFormat(rapid.IntRange(0, 3).Draw(t, "date")), Decimals: rapid.IntRange(-1, 20).Draw(t, "decimals")}
		for _, r := range d.records {
			whole := string(opts.AppendJSON(nil, &r, d.styles))
			if got := `{"id":"` + string(r.Key().AppendText(nil, r.Upper())) + `",` + string(opts.AppendFields(nil, &r, d.styles)) + "}"; got != whole {
				t.Fatalf("%s, want %s", got, whole)
			}
		}
	})
}

func TestExpires(t *testing.T) {
	for text, want := range map[string]string{
		"2018-08-04 05:32:31 +0200 CEST":   "2018-08-04T03:32:31Z",
		"2018-08-04 05:32:31 -0030":        "2018-08-04T06:02:31Z",
		"2018-08-04T05:32:31Z":             "2018-08-04T05:32:31Z",
		"2018-08-04T05:32:31+05:45":        "2018-08-03T23:47:31Z",
		"2018-08-04 05:32:31.000 UTC":      "2018-08-04T05:32:31Z",
		"2018-08-04 05:32:31Z":             "2018-08-04T05:32:31Z",
		"2018-08-04T05:32:31.00-01:00":     "2018-08-04T06:32:31Z",
		"0000-01-01 00:00:00 +0100":        "-0001-12-31T23:00:00Z",
		"9999-12-31 23:59:59 -0100":        "10000-01-01T00:59:59Z",
		"2018-08-04 05:32:31":              "",
		"2018-08-04 05:32:31.000":          "",
		"1970-01-01 00:00:00 +0000 UTC":    "1970-01-01T00:00:00Z",
		"2024-02-29 23:59:59 -2359 CUSTOM": "2024-03-01T23:58:59Z",
	} {
		seconds, sep, rest, err := format.ParseDate([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		style, err := format.ParseTimestampStyle(sep, rest)
		if err != nil {
			t.Fatal(err)
		}
		r := format.MakeRecord(format.Key{}, false, format.Price{}, seconds, 0)
		at, ok := r.Expires([]format.TimestampStyle{style})
		got := ""
		if ok {
			got = at.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%s expires at %q, want %q", text, got, want)
		}
	}
}

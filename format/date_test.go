package format_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"promostore/format"

	"pgregory.net/rapid"
)

var (
	yearZero = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)

	// Styles of version 1.
	blankStyle = regexp.MustCompile(`^(?: ([+-])([01][0-9]|2[0-3])([0-5][0-9])(?: (\p{L}+|[+-][0-9]{2}|[+-][0-9]{4}))?)?$`)
	tStyle     = regexp.MustCompile(`^(?:Z|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))$`)

	// Styles of version 2.
	blankSuffix = regexp.MustCompile(`^(?:\.0{1,9})?(?:|[Zz]| (?:Z|UTC|GMT)|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?| ([+-])([01][0-9]|2[0-3]):?([0-5][0-9])(?: (?:\p{L}+|[+-][0-9]{2}|[+-][0-9]{4}))?)$`)
	tSuffix     = regexp.MustCompile(`^(?:\.0{1,9})?(?:[Zz]|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)$`)
)

// A date holds the results of ParseDate and ParseTimestampStyle.
type date struct {
	seconds uint64
	style   format.TimestampStyle
}

// parseDate parses text with ParseDate and ParseTimestampStyle. The offset of an
// error counts from the start of text.
func parseDate(tb rapid.TB, text string) (d date, offset int, ok bool) {
	tb.Helper()
	seconds, sep, rest, err := format.ParseDate([]byte(text))
	if err != nil {
		return date{}, checkSyntaxError(tb, text, err), false
	}
	style, err := format.ParseTimestampStyle(sep, rest)
	if err != nil {
		return date{}, len(text) - len(rest) + checkSyntaxError(tb, string(rest), err), false
	}
	return date{seconds, style}, 0, true
}

// oracleDate parses text with packages time and regexp.
func oracleDate(text string) (d date, ok bool) {
	const wall = len(time.DateTime)
	if len(text) < wall || text[10] != ' ' && text[10] != 'T' {
		return date{}, false
	}
	layout := "2006-01-02" + text[10:11] + "15:04:05"
	at, err := time.Parse(layout, text[:wall])
	if err != nil || at.Format(layout) != text[:wall] {
		return date{}, false
	}
	d.seconds = uint64(at.Unix() - yearZero.Unix())
	rest := text[wall:]
	syntax, suffix := blankStyle, blankSuffix
	if text[10] == 'T' {
		syntax, suffix = tStyle, tSuffix
	}
	if m := syntax.FindStringSubmatch(rest); m != nil && (len(m) < 5 || len(m[4]) <= 63) {
		switch {
		case rest == "":
			d.style.Layout = format.LayoutWall
		case rest == "Z":
			d.style.Layout = format.LayoutUTC
		case text[10] == 'T':
			d.style.Layout = format.LayoutRFC3339
		case m[4] == "":
			d.style.Layout = format.LayoutOffset
		default:
			d.style.Layout = format.LayoutOffsetAbbr
			d.style.Abbr = m[4]
		}
		d.setOffset(m[1:4])
		return d, true
	}
	m := suffix.FindStringSubmatch(rest)
	if m == nil || len(rest) > 63 || syntax.MatchString(rest) {
		return date{}, false
	}
	d.style.Layout, d.style.Abbr = format.LayoutSuffix, rest
	if text[10] == 'T' {
		d.style.Layout = format.LayoutSuffixT
	}
	for ; len(m) >= 4; m = m[3:] {
		d.setOffset(m[1:4])
	}
	return d, true
}

// setOffset sets the offset to a sign, hours and minutes, unless there is none.
func (d *date) setOffset(m []string) {
	if m[0] == "" {
		return
	}
	hours, _ := strconv.Atoi(m[1])
	minutes, _ := strconv.Atoi(m[2]) // 0 if there are none
	d.style.Minutes = uint16(hours*60 + minutes)
	d.style.Negative = m[0] == "-"
}

// checkDate compares the parsers with oracleDate, AppendDate with text, and the
// instant with package time, for the layouts that package time can parse.
func checkDate(tb rapid.TB, text string) {
	tb.Helper()
	got, _, ok := parseDate(tb, text)
	want, wantOK := oracleDate(text)
	if ok != wantOK || ok && got != want {
		tb.Fatalf("date %q: %+v, %t, want %+v, %t", text, got, ok, want, wantOK)
	}
	if !ok {
		return
	}
	if back := string(got.style.AppendDate([]byte("x"), got.seconds)); back != "x"+text {
		tb.Fatalf("AppendDate returns %q, want %q", back, text)
	}
	if got.style.Layout == format.LayoutOffsetAbbr {
		text = text[:len(text)-len(got.style.Abbr)] // package time would derive an offset from it
	}
	for _, layout := range []string{
		time.DateTime, "2006-01-02 15:04:05 -0700 ", "2006-01-02 15:04:05 -0700", time.RFC3339,
		"2006-01-02 15:04:05-07", "2006-01-02 15:04:05-07:00", "2006-01-02 15:04:05 -07:00", "2006-01-02 15:04:05 UTC", "2006-01-02T15:04:05-0700",
	} {
		if at, err := time.Parse(layout, text); err == nil {
			if instant := yearZero.Unix() + int64(got.seconds) - got.style.Offset(); instant != at.Unix() {
				tb.Fatalf("date %q: instant %d, want %d", text, instant, at.Unix())
			}
		}
	}
}

// genStyle draws a valid timestamp style.
func genStyle() *rapid.Generator[format.TimestampStyle] {
	return rapid.Custom(func(t *rapid.T) format.TimestampStyle {
		if rapid.Bool().Draw(t, "suffix") {
			return genSuffix(t)
		}
		z := format.TimestampStyle{Layout: rapid.SampledFrom([]format.Layout{
			format.LayoutWall, format.LayoutOffsetAbbr, format.LayoutOffset, format.LayoutUTC, format.LayoutRFC3339,
		}).Draw(t, "layout")}
		if z.Layout != format.LayoutWall && z.Layout != format.LayoutUTC {
			z.Negative = rapid.Bool().Draw(t, "negative")
			z.Minutes = rapid.Uint16Max(24*60-1).Draw(t, "minutes")
		}
		if z.Layout == format.LayoutOffsetAbbr {
			z.Abbr = rapid.OneOf(
				rapid.SampledFrom([]string{"CEST", "CET", "UTC", "+03", "-0330", "MSK", "ЕЁ", "日本", strings.Repeat("Z", 63)}),
				rapid.StringMatching(`[\p{L}]{1,15}`),
				rapid.StringMatching(`[+-]([0-9]{2}|[0-9]{4})`),
			).Draw(t, "abbr")
		}
		return z
	})
}

// genSuffix draws a style of version 2.
func genSuffix(t *rapid.T) format.TimestampStyle {
	z := format.TimestampStyle{
		Layout:   rapid.SampledFrom([]format.Layout{format.LayoutSuffix, format.LayoutSuffixT}).Draw(t, "layout"),
		Negative: rapid.Bool().Draw(t, "negative"),
		Minutes:  rapid.Uint16Max(24*60-1).Draw(t, "minutes"),
	}
	fraction := rapid.SampledFrom([]string{".0", ".000", ".000000", ".000000000"}).Draw(t, "fraction")
	forms := []string{"z", "±HH", "±HHMM"}
	old := []string{"Z", "±HH:MM"} // without a fraction, version 1 has them
	if z.Layout == format.LayoutSuffix {
		forms = append(forms, "Z", " Z", " UTC", " GMT", "±HH:MM", " ±HH:MM", " ±HH:MM CEST")
		old = []string{"", " ±HHMM", " ±HHMM CEST"}
	}
	if rapid.Bool().Draw(t, "without fraction") {
		fraction = ""
	} else {
		forms = append(forms, old...)
	}
	form := rapid.SampledFrom(forms).Draw(t, "form")
	if !strings.Contains(form, "±") {
		z.Negative, z.Minutes = false, 0
	}
	if !strings.Contains(form, "MM") {
		z.Minutes -= z.Minutes % 60
	}
	sign := "+"
	if z.Negative {
		sign = "-"
	}
	z.Abbr = fraction + strings.NewReplacer("±", sign, "HH", fmt.Sprintf("%02d", z.Minutes/60), "MM", fmt.Sprintf("%02d", z.Minutes%60)).Replace(form)
	return z
}

const maxSeconds = 10000*365*86400 + 2425*86400 - 1 // 9999-12-31 23:59:59

func genSeconds() *rapid.Generator[uint64] { return rapid.Uint64Range(0, maxSeconds) }

func TestDateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := date{genSeconds().Draw(t, "seconds"), genStyle().Draw(t, "style")}
		text := string(want.style.AppendDate(nil, want.seconds))
		if got, _, ok := parseDate(t, text); !ok || got != want {
			t.Fatalf("%+v is written %q and parsed as %+v, %t", want, text, got, ok)
		}
		checkDate(t, text)
		at := yearZero.Add(0).AddDate(0, 0, int(want.seconds/86400)).Add(time.Duration(want.seconds%86400) * time.Second)
		if got := strings.Replace(text[:len(time.DateTime)], "T", " ", 1); got != at.Format(time.DateTime) {
			t.Fatalf("%d seconds: %q, want %q", want.seconds, got, at.Format(time.DateTime))
		}
	})
}

// TestCalendar parses some days of every year, and all combinations of month and
// day of some years, existing or not.
func TestCalendar(t *testing.T) {
	check := func(year, month, day int) {
		text := fmt.Sprintf("%04d-%02d-%02d 00:00:00", year, month, day)
		at := time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
		exists := at.Format(time.DateTime) == text
		got, _, ok := parseDate(t, text)
		if ok != exists {
			t.Fatalf("date %q: ok is %t, want %t", text, ok, exists)
		}
		if want := uint64(at.Unix() - yearZero.Unix()); exists && got.seconds != want {
			t.Fatalf("date %q: %d, want %d", text, got.seconds, want)
		}
		if back := string(got.style.AppendDate(nil, got.seconds)); exists && back != text {
			t.Fatalf("date %q is written as %q", text, back)
		}
	}
	for year := range 10000 {
		all := year == 0 || year == 1900 || year == 2000 || year == 2018 || year == 2100 || year == 9999
		if !all {
			for _, d := range [][2]int{{1, 1}, {2, 28}, {2, 29}, {2, 30}, {3, 1}, {12, 31}, {1 + year%12, 1 + year%31}} {
				check(year, d[0], d[1])
			}
			continue
		}
		for month := range 100 {
			for day := range 100 {
				check(year, month, day)
			}
		}
	}
}

func TestClock(t *testing.T) {
	for _, at := range []int{11, 14, 17} {
		for n := range 100 {
			text := []byte("2018-08-04T05:32:31Z")
			copy(text[at:], fmt.Sprintf("%02d", n))
			checkDate(t, string(text))
		}
	}
}

// TestParseDateEveryByte replaces each byte by each value, and cuts and extends
// the text at each offset.
func TestParseDateEveryByte(t *testing.T) {
	for _, valid := range []string{
		"2018-08-04 05:32:31",
		"2018-08-04 05:32:31 +0200 CEST",
		"2018-10-28 02:00:00 -0330 -0330",
		"2018-08-04T05:32:31Z",
		"0000-01-01T00:00:00-00:00",
		"2018-08-04 05:32:31.000+02",
		"2018-08-04 05:32:31 UTC",
		"2018-08-04T05:32:31.000000-0330",
		"9999-12-31 23:59:59 -0000",
	} {
		for i := range valid {
			for c := range 256 {
				text := []byte(valid)
				text[i] = byte(c)
				checkDate(t, string(text))
			}
			checkDate(t, valid[:i])
			checkDate(t, valid[:i]+"0"+valid[i:])
		}
	}
}

func TestParseDateTwoBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := genStyle().Draw(t, "style").AppendDate(nil, genSeconds().Draw(t, "seconds"))
		for range 2 {
			text[rapid.IntRange(0, len(text)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		checkDate(t, string(text))
	})
}

func TestParseDateWrongByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		style := genStyle().Filter(func(z format.TimestampStyle) bool { return len(z.Abbr) == len([]rune(z.Abbr)) }).Draw(t, "style")
		text := style.AppendDate(nil, genSeconds().Draw(t, "seconds"))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		text[at] = rapid.SampledFrom([]byte("!/;_\x00\xad\xb0\xff")).Draw(t, "byte")
		if _, offset, ok := parseDate(t, string(text)); ok || offset != at {
			t.Fatalf("date %q: ok is %t, offset %d, want %d", text, ok, offset, at)
		}
	})
}

func TestParseDateErrorOffset(t *testing.T) {
	f := func(text string, offset int) {
		t.Helper()
		checkDate(t, text)
		if _, got, ok := parseDate(t, text); ok || got != offset {
			t.Errorf("date %q: ok is %t, offset %d, want %d", text, ok, got, offset)
		}
	}
	f("", 0)
	f("2018-08-04", 10)
	f("2018-08-04 05:32:3", 18)
	f("2018-00-04 05:32:31", 5)
	f("2018-13-04 05:32:31", 5)
	f("2018-08-00 05:32:31", 8)
	f("2018-02-30 05:32:31", 8)
	f("2018-02-29 05:32:31", 8)
	f("1900-02-29 05:32:31", 8)
	f("2018-08-04 24:00:00", 11)
	f("2018-08-04 23:60:00", 14)
	f("2016-12-31 23:59:60", 17)
	f("2018-08-04 5:32:31 +0200", 12)
	f("2018-08-04t05:32:31Z", 10)
	f("2018-08-04 05:32:31.5", 19)
	f("2018-08-04T05:32:31.5Z", 19)
	f("2018-08-04T05:32:31", 19)
	f("2018-08-04T05:32:31ZZ", 19)
	f("2018-08-04T05:32:31+02:00 CEST", 25)
	f("2018-08-04T05:32:31+24:00", 19)
	f("2018-08-04T05:32:31+02:60", 19)
	f("2018-08-04 05:32:31 ", 20)
	f("2018-08-04 05:32:31.", 20)
	f("2018-08-04 05:32:31.0001", 19)
	f("2018-08-04 05:32:31.0000000000", 29)
	f("2018-08-04T05:32:31.000", 23)
	f("2018-08-04 05:32:31.000 CEST", 24)
	f("2018-08-04 05:32:31+", 20)
	f("2018-08-04 05:32:31+2", 21)
	f("2018-08-04 05:32:31+020", 23)
	f("2018-08-04 05:32:31+02:", 23)
	f("2018-08-04 05:32:31+02:3", 24)
	f("2018-08-04 05:32:31+02:60", 19)
	f("2018-08-04 05:32:31+24", 19)
	f("2018-08-04 05:32:31+02 CEST", 22)
	f("2018-08-04 05:32:31 +02", 23)
	f("2018-08-04 05:32:31 +02 CEST", 23)
	f("2018-08-04 05:32:31UTC", 19)
	f("2018-08-04 05:32:31 UT", 20)
	f("2018-08-04 05:32:31 utc", 20)
	f("2018-08-04 05:32:31 z", 20)
	f("2018-08-04 05:32:31 UTC+2", 23)
	f("2018-08-04T05:32:31 UTC", 19)
	f("2018-08-04 05:32:31.000 +02:00 "+strings.Repeat("Z", 52), 63+19)
	f("2018-08-04 05:32:31 CEST", 20)
	f("2018-08-04 05:32:31 +2400 CEST", 20)
	f("2018-08-04 05:32:31 +0200 ", 26)
	f("2018-08-04 05:32:31 +0200  CEST", 26)
	f("2018-08-04 05:32:31 +0200 CE5T", 28)
	f("2018-08-04 05:32:31 +0200 CEST ", 30)
	f("2018-08-04 05:32:31 +0200 C\xffST", 27)
	f("2018-08-04 05:32:31 +0200 +3", 26)
	f("2018-08-04 05:32:31 +0200 +033", 26)
	f("2018-08-04 05:32:31 +0200 +03x0", 29)
	f("2018-08-04 05:32:31 +0200 "+strings.Repeat("Z", 64), 26)
	f("2018-08-04 05:32:31 +0200 "+strings.Repeat("Я", 32), 26)
	f("2018-08-04 05:32:31 +0200 "+strings.Repeat("5", 1<<20), 26)
}

func TestParseDateLayouts(t *testing.T) {
	for _, text := range []string{
		"2018-08-04 05:32:31",
		"2018-08-04 05:32:31 +0200 CEST",
		"2018-10-28 02:30:00 +0100 CET",
		"2018-08-04 05:32:31 +0300 +03",
		"2018-08-04 05:32:31 -0330 -0330",
		"2018-08-04 05:32:31 +0300 МСК",
		"2018-08-04 05:32:31 +0900 日本標準時",
		"2018-08-04 05:32:31 +0000",
		"2018-08-04 05:32:31 -0000",
		"2018-08-04T05:32:31Z",
		"2018-08-04T05:32:31+00:00",
		"2018-08-04T05:32:31-00:00",
		"2018-08-04T05:32:31+23:59",
		"2016-02-29 00:00:00",
		"2022-06-04 06:01:20+00",        // PostgreSQL
		"2022-06-04 06:01:20-03:30",     // PostgreSQL, Python
		"2022-06-04 06:01:20.000000+00", // DuckDB
		"2022-06-04 06:01:20 UTC",       // BigQuery
		"2022-06-04 06:01:20 GMT",
		"2022-06-04 06:01:20 Z",
		"2022-06-04 06:01:20Z",
		"2022-06-04T06:01:20z",
		"2022-06-04 06:01:20.0",              // JDBC
		"2022-06-04 06:01:20.000",            // Hive, SQL Server
		"2022-06-04 06:01:20.000000",         // MySQL
		"2022-06-04 06:01:20.000000000",      // pandas
		"2022-06-04 06:01:20.0000000 +02:00", // SQL Server
		"2022-06-04 06:01:20.000 +0200 CEST",
		"2022-06-04 06:01:20.000 UTC",
		"2022-06-04T06:01:20.000Z",      // Spark, JavaScript
		"2022-06-04T06:01:20.000+02:00", // Spark
		"2022-06-04T06:01:20+0200",
		"2022-06-04T06:01:20+00",
	} {
		checkDate(t, text)
		if _, offset, ok := parseDate(t, text); !ok {
			t.Errorf("date %q is rejected at offset %d", text, offset)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, text := range []string{
		"2018-08-04 05:32:31", "2018-08-04 05:32:31 +0200 CEST", "2018-08-04 05:32:31 -0330 -0330",
		"2018-08-04 05:32:31 -0000", "2018-08-04T05:32:31Z", "2018-08-04T05:32:31-07:00",
		"2018-02-29 05:32:31", "2018-08-04 24:00:00", "2018-08-04 05:32:31 +0900 日本", "",
		"2018-08-04 05:32:31+00", "2018-08-04 05:32:31.000 UTC", "2018-08-04T05:32:31.000000-0330", "2018-08-04 05:32:31.0 +02:00 CEST",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkDate(t, text) })
}

package builder

import (
	"bytes"
	"encoding/csv"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"promostore/format"
)

// The oracle parses rows without the parser of the builder: with encoding/csv,
// regular expressions and package time.

var (
	idPattern      = regexp.MustCompile(`^(?:([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})|\{([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\})$`)
	pricePattern   = regexp.MustCompile(`^([+-]?)([0-9]*)(?:(\.)([0-9]*))?$`)
	datePattern    = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2})([ T])([0-9]{2}:[0-9]{2}:[0-9]{2})(.*)$`)
	zeroPattern    = regexp.MustCompile(`^([+-]?)(0*)(?:\.(0*))?[eE]([+-]?[0-9]{1,4})$`)
	spaceZone      = regexp.MustCompile(`^(?:\.0{1,9})?(?:|[Zz]| (?:Z|UTC|GMT)|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?| [+-](?:[01][0-9]|2[0-3]):?[0-5][0-9](?: (?:\pL+|[+-][0-9]{2}|[+-][0-9]{4}))?)$`)
	rfcZone        = regexp.MustCompile(`^(?:\.0{1,9})?(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)$`)
	zoneWord       = regexp.MustCompile(`^ [+-][0-9]{4} (.*)$`)
	oraclePreamble = regexp.MustCompile(`(?s)^"*(?:[sS][eE][pP]=.|#TYPE .*)$`)
)

// oracleRow returns the canonical spelling of a row and its id in lower case. ok
// is false if the row is not a promotion.
func oracleRow(line string, comma rune) (canonical, id string, ok bool) {
	if strings.ContainsAny(line, "\r\n") {
		return "", "", false
	}
	r := csv.NewReader(strings.NewReader(line))
	r.Comma, r.FieldsPerRecord = comma, -1
	fields, err := r.Read()
	if err != nil || len(fields) != 3 {
		return "", "", false
	}
	text, ok := oracleID(fields[0])
	if !ok {
		return "", "", false
	}
	price, ok := oraclePrice(fields[1])
	if !ok || !oracleDate(fields[2]) {
		return "", "", false
	}
	return strings.Join([]string{text, price, fields[2]}, string(comma)), strings.ToLower(text), true
}

func oracleID(s string) (string, bool) {
	m := idPattern.FindStringSubmatch(s)
	if m == nil {
		return "", false
	}
	s = m[1] + m[2]
	if strings.ToUpper(s) == s {
		return s, true
	}
	return strings.ToLower(s), true
}

func oraclePrice(s string) (string, bool) {
	if m := zeroPattern.FindStringSubmatch(s); m != nil && m[2]+m[3] != "" && len(m[2]+m[3]) <= 16 {
		n, _ := strconv.Atoi(m[4])
		decimals := len(m[3]) - n
		text := strings.TrimPrefix(m[1], "+") + "0"
		if decimals > 0 {
			text += "." + strings.Repeat("0", decimals)
		}
		return text, decimals <= 16+63
	}
	m := pricePattern.FindStringSubmatch(s)
	if m == nil || m[2]+m[4] == "" {
		return "", false
	}
	whole := strings.TrimLeft(m[2], "0")
	digits := len(whole) + len(strings.TrimRight(m[4], "0"))
	if digits > 16 || len(whole)+len(m[4]) > 16+63 {
		return "", false
	}
	if whole == "" {
		whole = "0"
	}
	sign := strings.TrimPrefix(m[1], "+")
	if m[4] == "" {
		return sign + whole, true
	}
	return sign + whole + "." + m[4], true
}

func oracleDate(s string) bool {
	m := datePattern.FindStringSubmatch(s)
	if m == nil {
		return false
	}
	if _, err := time.Parse("2006-01-02 15:04:05", m[1]+" "+m[3]); err != nil {
		return false
	}
	zone := rfcZone
	if m[2] == " " {
		zone = spaceZone
	}
	if !zone.MatchString(m[4]) {
		return false
	}
	if word := zoneWord.FindStringSubmatch(m[4]); word != nil && m[2] == " " {
		return len(word[1]) <= 63
	}
	return len(m[4]) <= 63
}

// oracleCSV parses an input. It returns the last row of each id, the number of
// rows and the line numbers of the bad ones.
func oracleCSV(data []byte, comma rune) (byID map[string]string, rows int64, bad []int64) {
	byID = map[string]string{}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	first := true
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		if header := first && oracleHeader(line, comma); header {
			first = false
			continue
		}
		first = first && oraclePreamble.MatchString(line)
		rows++
		if canonical, id, ok := oracleRow(line, comma); ok {
			byID[id] = canonical
		} else {
			bad = append(bad, int64(i)+1)
		}
	}
	return byID, rows, bad
}

func oracleHeader(line string, comma rune) bool {
	r := csv.NewReader(strings.NewReader(line))
	r.Comma = comma
	fields, err := r.Read()
	return err == nil && !strings.Contains(line, "\r") && slices.EqualFunc(fields, []string{"id", "price", "expiration_date"}, strings.EqualFold)
}

// drawRow draws a row in one of the accepted spellings.
func drawRow(t *rapid.T, comma string) string {
	var id [36]byte
	for i := range id {
		id[i] = "0123456789abcdef"[rapid.IntRange(0, 15).Draw(t, "digit")]
	}
	if rapid.IntRange(0, 2).Draw(t, "prefix") == 0 {
		copy(id[:], "00000000-0000-0000-0000-0000000000") // ids that collide
	}
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	text := string(id[:])
	if rapid.Bool().Draw(t, "upper") {
		text = strings.ToUpper(text)
	}
	if rapid.IntRange(0, 7).Draw(t, "braces") == 0 {
		text = "{" + text + "}"
	}
	price := rapid.StringMatching(`[+-]?(0{0,3}[0-9]{1,8}(\.[0-9]{0,8}(0{20})?)?|\.[0-9]{1,16}0{0,20}|0E-[0-9])`).Draw(t, "price")
	date := rapid.StringMatching(`(000[0-9]|1[0-9]{3}|2018|9999)-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])`).Draw(t, "day")
	clock := rapid.StringMatching(`([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]`).Draw(t, "clock")
	switch rapid.IntRange(0, 7).Draw(t, "layout") {
	case 6:
		date += " " + clock + rapid.SampledFrom([]string{".0", ".000000"}).Draw(t, "fraction") + rapid.SampledFrom([]string{"", "Z", " UTC", " +0200 CEST"}).Draw(t, "zone")
	case 7:
		date += rapid.SampledFrom([]string{" ", "T"}).Draw(t, "separator") + clock + rapid.SampledFrom([]string{"+00", "-03:30", "+0000", "z"}).Draw(t, "zone")
	case 0, 1:
		date += " " + clock + " +0200 CEST"
	case 2:
		date += " " + clock
	case 3:
		date += " " + clock + rapid.StringMatching(` [+-]([01][0-9]|2[0-3])[0-5][0-9]( ([A-Z]{1,5}|é|[+-][0-9]{2}([0-9]{2})?))?`).Draw(t, "zone")
	case 4:
		date += "T" + clock + "Z"
	case 5:
		date += "T" + clock + rapid.StringMatching(`[+-]([01][0-9]|2[0-3]):[0-5][0-9]`).Draw(t, "zone")
	}
	fields := []string{text, price, date}
	for i := range fields {
		if rapid.IntRange(0, 7).Draw(t, "quoted") == 0 {
			fields[i] = `"` + fields[i] + `"`
		}
	}
	return strings.Join(fields, comma)
}

// Random rows in every accepted spelling, divided into inputs and shards at random,
// come back sorted and canonical.
func TestBuildMatchesOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		comma := rapid.SampledFrom([]string{",", ",", ";", "\t", "|", "\x01"}).Draw(t, "comma")
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawRow(t, comma) }), 1, 60).Draw(t, "rows")
		var inputs []Input
		want := map[string]string{}
		total := int64(0)
		for len(rows) > 0 {
			n := rapid.IntRange(1, len(rows)).Draw(t, "part")
			var b bytes.Buffer
			if rapid.Bool().Draw(t, "bom") {
				b.WriteString("\xef\xbb\xbf")
			}
			if rapid.Bool().Draw(t, "header") {
				b.WriteString(strings.ReplaceAll("ID,\"Price\",expiration_DATE\n", ",", comma))
			}
			for i, row := range rows[:n] {
				b.WriteString(row)
				complete := strings.HasSuffix(row, "CEST") || strings.HasSuffix(row, `"`) // even without a line end
				if i < n-1 || !complete || rapid.Bool().Draw(t, "last") {
					b.WriteString(rapid.SampledFrom([]string{"\n", "\r\n", "\n\n", "\r\n\r\n"}).Draw(t, "end"))
				}
			}
			byID, count, bad := oracleCSV(b.Bytes(), rune(comma[0]))
			if len(bad) > 0 {
				t.Fatalf("drew a bad row: line %d of %q", bad[0], b.String())
			}
			maps.Copy(want, byID)
			total += count
			inputs = append(inputs, stream("part", compress(t, b.Bytes())))
			rows = rows[n:]
		}
		s := tiny
		s.chunk = rapid.IntRange(256, 2048).Draw(t, "chunk")
		dir, err := os.MkdirTemp("", "builder")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		sum, err := buildWith(t.Context(), s, Options{
			Inputs: inputs, Dir: dir, Delimiter: comma[0],
			Workers:  rapid.IntRange(1, 3).Draw(t, "workers"),
			Sharding: rapid.SampledFrom(append(shardings, format.Unsharded, format.Unsharded, format.Unsharded, format.Unsharded)).Draw(t, "sharding"),
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, path := range sum.Files {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, dump(t, file, comma[0])...)
		}
		slices.SortFunc(got, func(a, b string) int { return strings.Compare(strings.ToLower(a[:36]), strings.ToLower(b[:36])) })
		var rowsWant []string
		for _, id := range slices.Sorted(maps.Keys(want)) {
			rowsWant = append(rowsWant, want[id])
		}
		if !slices.Equal(got, rowsWant) {
			t.Fatalf("got  %q\nwant %q", got, rowsWant)
		}
		if sum.Rows != total || sum.Duplicates != total-int64(len(want)) {
			t.Fatalf("%d rows and %d duplicates, want %d and %d", sum.Rows, sum.Duplicates, total, total-int64(len(want)))
		}
	})
}

// compress compresses data, or not, as drawn.
func compress(t *rapid.T, data []byte) []byte {
	return pack(t, []string{".gz", ".zst", "", ""}[rapid.IntRange(0, 3).Draw(t, "compression")], data)
}

package builder

import (
	"bytes"
	"encoding/csv"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The oracle parses rows without the parser of the builder: with encoding/csv,
// regular expressions and package time.

var (
	idPattern    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	pricePattern = regexp.MustCompile(`^([+-]?)([0-9]*)(?:(\.)([0-9]*))?$`)
	datePattern  = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2})([ T])([0-9]{2}:[0-9]{2}:[0-9]{2})(.*)$`)
	spaceZone    = regexp.MustCompile(`^(?: ([+-])([0-9]{2})([0-9]{2})(?: (\pL+|[+-][0-9]{2}|[+-][0-9]{4}))?)?$`)
	rfcZone      = regexp.MustCompile(`^(?:Z|([+-])([0-9]{2}):([0-9]{2}))$`)
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
	if !idPattern.MatchString(s) {
		return "", false
	}
	if strings.ToUpper(s) == s {
		return s, true
	}
	return strings.ToLower(s), true
}

func oraclePrice(s string) (string, bool) {
	m := pricePattern.FindStringSubmatch(s)
	if m == nil || m[2]+m[4] == "" {
		return "", false
	}
	whole := strings.TrimLeft(m[2], "0")
	if len(whole)+len(m[4]) > 16 {
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
	z := zone.FindStringSubmatch(m[4])
	if z == nil || z[1] != "" && (z[2] > "23" || z[3] > "59") {
		return false
	}
	return len(z) < 5 || len(z[4]) <= 63
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
		first = false
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

package format

import "fmt"

// A DateFormat is a format of the timestamps in JSON.
type DateFormat int

// The date formats.
const (
	DateWall    DateFormat = iota // the wall clock of the row: 2006-01-02 15:04:05
	DateSource                    // the text of the row
	DateUTC                       // converted to UTC: 2006-01-02 15:04:05
	DateRFC3339                   // 2006-01-02T15:04:05+02:00, or Z if the row has no offset
)

var dateFormats = [...]string{"wall", "source", "utc", "rfc3339"}

// ParseDateFormat returns the date format with this name.
func ParseDateFormat(s string) (DateFormat, error) {
	for i, name := range dateFormats {
		if s == name {
			return DateFormat(i), nil
		}
	}
	return 0, fmt.Errorf("date format %q is none of %v", s, dateFormats)
}

// String returns the name of f.
func (f DateFormat) String() string { return dateFormats[f] }

// JSONOptions control the JSON form of records. The zero value truncates prices
// to integers; DefaultJSONOptions does not.
type JSONOptions struct {
	Date     DateFormat
	Decimals int // of the price, which is truncated; negative: all
}

// DefaultJSONOptions selects the wall clock and all decimals.
var DefaultJSONOptions = JSONOptions{Date: DateWall, Decimals: -1}

// MaxJSONLen is the maximum number of bytes that AppendJSON appends.
const MaxJSONLen = len(`{"id":"","price":,"expiration_date":""}`) + TextLen + len("-0.") + MaxDigits + MaxZeros +
	wallLen + len("-") + len(" -0700 ") + maxAbbrLen

// AppendJSON appends r as the JSON object that servers answer. r must be valid
// for styles, the dictionary of its file.
func (s JSONOptions) AppendJSON(dst []byte, r *Record, styles []TimestampStyle) []byte {
	dst = append(dst, `{"id":"`...)
	dst = r.Key().AppendText(dst, r.Upper())
	dst = append(dst, `","price":`...)
	style := &styles[r.Style()]
	dst = r.price(style).AppendText(dst, s.Decimals)
	dst = append(dst, `,"expiration_date":"`...)
	switch s.Date {
	case DateSource:
		dst = style.AppendDate(dst, r.Seconds())
	case DateUTC:
		dst = appendWall(dst, int64(r.Seconds())-style.Offset(), ' ')
	case DateRFC3339:
		dst = appendWall(dst, int64(r.Seconds()), 'T')
		if style.hasOffset() {
			dst = style.appendOffset(dst, true)
		} else {
			dst = append(dst, 'Z')
		}
	default:
		dst = appendWall(dst, int64(r.Seconds()), ' ')
	}
	return append(dst, `"}`...)
}

// AppendFields appends the fields of AppendJSON after the id, without braces.
func (s JSONOptions) AppendFields(dst []byte, r *Record, styles []TimestampStyle) []byte {
	var buf [MaxJSONLen]byte
	text := s.AppendJSON(buf[:0], r, styles)
	return append(dst, text[len(`{"id":"`)+TextLen+len(`",`):len(text)-1]...)
}

// AppendCSV appends r as a CSV row in canonical form, with delimiter between the
// fields and without a line end. r must be valid for styles, the dictionary of
// its file.
func (r *Record) AppendCSV(dst []byte, styles []TimestampStyle, delimiter byte) []byte {
	dst = append(r.Key().AppendText(dst, r.Upper()), delimiter)
	style := &styles[r.Style()]
	dst = append(r.price(style).AppendText(dst, -1), delimiter)
	return style.AppendDate(dst, r.Seconds())
}

package format

import "fmt"

// A DateFormat is a way to give a date back.
type DateFormat int

// The date formats.
const (
	DateWall    DateFormat = iota // the row's wall clock: 2006-01-02 15:04:05
	DateSource                    // as the row wrote it
	DateUTC                       // moved to UTC: 2006-01-02 15:04:05
	DateRFC3339                   // 2006-01-02T15:04:05+02:00, or Z where the row named no zone
)

var dateFormats = [...]string{"wall", "source", "utc", "rfc3339"}

// ParseDateFormat is the inverse of String.
func ParseDateFormat(s string) (DateFormat, error) {
	for i, name := range dateFormats {
		if s == name {
			return DateFormat(i), nil
		}
	}
	return 0, fmt.Errorf("date format %q is none of %v", s, dateFormats)
}

func (f DateFormat) String() string { return dateFormats[f] }

// A JSONOptions is how records are given back as JSON. The zero value cuts prices to
// integers: use DefaultJSONOptions.
type JSONOptions struct {
	Date     DateFormat
	Decimals int // of the price, the rest is cut off; negative: as written
}

// DefaultJSONOptions gives the wall clock and the price as written.
var DefaultJSONOptions = JSONOptions{Date: DateWall, Decimals: -1}

// MaxJSONLen bounds what AppendJSON appends, in bytes.
const MaxJSONLen = len(`{"id":"","price":,"expiration_date":""}`) + TextLen + len("-0.") + MaxDigits +
	wallLen + len("-") + len(" -0700 ") + maxAbbrLen

// AppendJSON appends r as the JSON object that the server answers. r must be
// valid for zones, the dictionary of its file.
func (s JSONOptions) AppendJSON(dst []byte, r *Record, styles []TimestampStyle) []byte {
	dst = append(dst, `{"id":"`...)
	dst = r.Key().AppendText(dst, r.Upper())
	dst = append(dst, `","price":`...)
	dst = r.Price().AppendText(dst, s.Decimals)
	dst = append(dst, `,"expiration_date":"`...)
	style := &styles[r.Style()]
	switch s.Date {
	case DateSource:
		dst = style.AppendDate(dst, r.Seconds())
	case DateUTC:
		dst = appendWall(dst, int64(r.Seconds())-style.Offset(), ' ')
	case DateRFC3339:
		dst = appendWall(dst, int64(r.Seconds()), 'T')
		if style.Layout == LayoutWall || style.Layout == LayoutUTC {
			dst = append(dst, 'Z')
		} else {
			dst = style.appendOffset(dst, true)
		}
	default:
		dst = appendWall(dst, int64(r.Seconds()), ' ')
	}
	return append(dst, `"}`...)
}

// AppendCSV appends r as the row of the CSV that it came from, in canonical
// spelling and without a line end. delimiter stands between the fields. r must
// be valid for zones.
func (r *Record) AppendCSV(dst []byte, styles []TimestampStyle, delimiter byte) []byte {
	dst = append(r.Key().AppendText(dst, r.Upper()), delimiter)
	dst = append(r.Price().AppendText(dst, -1), delimiter)
	return styles[r.Style()].AppendDate(dst, r.Seconds())
}

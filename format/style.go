package format

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"
)

// A Layout is one of the layouts in which a row may write its timestamp.
type Layout uint8

// The layouts, in the notation of package time. Files store their numbers.
const (
	LayoutWall       Layout = iota // 2006-01-02 15:04:05
	LayoutOffsetAbbr               // 2006-01-02 15:04:05 -0700 MST
	LayoutOffset                   // 2006-01-02 15:04:05 -0700
	LayoutUTC                      // 2006-01-02T15:04:05Z
	LayoutRFC3339                  // 2006-01-02T15:04:05-07:00
	numLayouts
)

// A TimestampStyle holds everything about a timestamp except its wall clock.
// Together they restore the text of the row. Values are comparable with ==.
type TimestampStyle struct {
	Layout   Layout
	Negative bool   // the offset was written with a minus; a zero may have one
	Minutes  uint16 // offset from UTC without its sign, below 1440
	Abbr     string // such as CEST or +03, for LayoutOffsetAbbr only
}

// Offset returns the offset from UTC in seconds, positive to the east. It is zero
// for a layout without an offset.
func (z TimestampStyle) Offset() int64 {
	if z.Negative {
		return -int64(z.Minutes) * 60
	}
	return int64(z.Minutes) * 60
}

// ParseTimestampStyle parses the results sep and style of ParseDate. The error is
// a *SyntaxError, whose offset counts from the start of rest.
func ParseTimestampStyle(sep byte, rest []byte) (TimestampStyle, error) {
	switch {
	case sep == ' ' && len(rest) == 0:
		return TimestampStyle{Layout: LayoutWall}, nil
	case len(rest) > 0 && rest[0] == '.':
		return TimestampStyle{}, syntaxError(0, "date: fractions of a second are not supported")
	case sep == ' ':
		if rest[0] != ' ' {
			return TimestampStyle{}, syntaxError(0, "date: %q after the seconds, want nothing or an offset such as +0200 CEST", charAt(rest, 0))
		}
		z, err := parseOffset(rest, 1, false)
		if err != nil {
			return TimestampStyle{}, err
		}
		z.Layout = LayoutOffset
		if len(rest) == len(" -0700") {
			return z, nil
		}
		z.Layout = LayoutOffsetAbbr
		if rest[6] != ' ' {
			return TimestampStyle{}, syntaxError(6, "date: %q after the offset, want a blank and an abbreviation such as CEST", charAt(rest, 6))
		}
		z.Abbr = string(rest[7:])
		if at := abbrError(rest[7:]); at >= 0 {
			return TimestampStyle{}, syntaxError(7+at, "date: abbreviation %.64q, want up to %d bytes of letters or an offset such as +03", rest[7:], maxAbbrLen)
		}
		return z, nil
	case len(rest) == 1 && rest[0] == 'Z':
		return TimestampStyle{Layout: LayoutUTC}, nil
	case len(rest) == 0:
		return TimestampStyle{}, syntaxError(0, "date: no offset, want Z or an offset such as +02:00 after a time with T")
	default:
		z, err := parseOffset(rest, 0, true)
		if err != nil {
			return TimestampStyle{}, err
		}
		if len(rest) > len("-07:00") {
			return TimestampStyle{}, syntaxError(len("-07:00"), "date: %q after the offset, want nothing", charAt(rest, len("-07:00")))
		}
		z.Layout = LayoutRFC3339
		return z, nil
	}
}

// parseOffset parses an offset at rest[i:], written like -07:00 if colon is set,
// else like -0700.
func parseOffset(rest []byte, i int, colon bool) (TimestampStyle, error) {
	want := "-0700"
	if colon {
		want = "-07:00"
	}
	var n [4]uint16
	digits := n[:0]
	for j := range want {
		if i+j >= len(rest) {
			return TimestampStyle{}, syntaxError(len(rest), "date: incomplete offset, want one such as %s", want)
		}
		c := rest[i+j]
		switch {
		case j == 0 && (c == '+' || c == '-'), want[j] == ':' && c == ':':
		case j > 0 && want[j] != ':' && c-'0' <= 9:
			digits = append(digits, uint16(c-'0'))
		default:
			return TimestampStyle{}, syntaxError(i+j, "date: %q in the offset, want one such as %s", charAt(rest, i+j), want)
		}
	}
	hours, minutes := n[0]*10+n[1], n[2]*10+n[3]
	if hours > 23 || minutes > 59 {
		return TimestampStyle{}, syntaxError(i, "date: there is no offset of %02d:%02d", hours, minutes)
	}
	return TimestampStyle{Negative: rest[i] == '-', Minutes: hours*60 + minutes}, nil
}

// abbrError returns the offset of the first byte that makes b an invalid
// abbreviation, or -1.
func abbrError(b []byte) int {
	if len(b) == 0 || len(b) > maxAbbrLen {
		return 0
	}
	if b[0] == '+' || b[0] == '-' {
		if len(b) != len("-07") && len(b) != len("-0700") {
			return 0
		}
		for i, c := range b[1:] {
			if c-'0' > 9 {
				return i + 1
			}
		}
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if !unicode.IsLetter(r) {
			return i
		}
		i += n
	}
	return -1
}

// AppendDate appends the timestamp as the row wrote it.
func (z TimestampStyle) AppendDate(dst []byte, seconds uint64) []byte {
	sep := byte(' ')
	if z.Layout == LayoutUTC || z.Layout == LayoutRFC3339 {
		sep = 'T'
	}
	dst = appendWall(dst, int64(seconds), sep)
	switch z.Layout {
	case LayoutOffsetAbbr:
		dst = z.appendOffset(append(dst, ' '), false)
		dst = append(append(dst, ' '), z.Abbr...)
	case LayoutOffset:
		dst = z.appendOffset(append(dst, ' '), false)
	case LayoutUTC:
		dst = append(dst, 'Z')
	case LayoutRFC3339:
		dst = z.appendOffset(dst, true)
	}
	return dst
}

func (z TimestampStyle) appendOffset(dst []byte, colon bool) []byte {
	sign := byte('+')
	if z.Negative {
		sign = '-'
	}
	dst = append2(append(dst, sign), int64(z.Minutes/60))
	if colon {
		dst = append(dst, ':')
	}
	return append2(dst, int64(z.Minutes%60))
}

// AppendBinary appends the encoding of z in the dictionary. The dictionary is
// sorted by these bytes.
func (z TimestampStyle) AppendBinary(dst []byte) []byte {
	negative := byte(0)
	if z.Negative {
		negative = 1
	}
	dst = append(dst, byte(z.Layout), negative)
	dst = binary.BigEndian.AppendUint16(dst, z.Minutes)
	return append(append(dst, byte(len(z.Abbr))), z.Abbr...)
}

// decodeTimestampStyle decodes the style at the start of b and returns its length
// n in bytes.
func decodeTimestampStyle(b []byte) (z TimestampStyle, n int, ok bool) {
	if len(b) < styleHeadLen {
		return TimestampStyle{}, 0, false
	}
	n = styleHeadLen + int(b[4])
	if len(b) < n || b[1] > 1 {
		return TimestampStyle{}, 0, false
	}
	z = TimestampStyle{Layout(b[0]), b[1] == 1, binary.BigEndian.Uint16(b[2:]), string(b[styleHeadLen:n])}
	return z, n, z.valid()
}

func (z TimestampStyle) valid() bool {
	if z.Layout >= numLayouts || z.Minutes >= 24*60 {
		return false
	}
	if (z.Layout == LayoutWall || z.Layout == LayoutUTC) && (z.Negative || z.Minutes != 0) {
		return false
	}
	if z.Layout == LayoutOffsetAbbr {
		return abbrError([]byte(z.Abbr)) < 0
	}
	return z.Abbr == ""
}

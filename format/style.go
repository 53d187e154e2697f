package format

import (
	"encoding/binary"
	"strings"
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
	LayoutSuffix                   // 2006-01-02 15:04:05 and Abbr
	LayoutSuffixT                  // 2006-01-02T15:04:05 and Abbr
)

// A TimestampStyle holds everything about a timestamp except its wall clock, and
// the zeros of the price that its record does not hold. Together they restore
// the text of the row. Values are comparable with ==.
type TimestampStyle struct {
	Layout   Layout
	Negative bool   // the offset was written with a minus; a zero may have one
	Minutes  uint16 // offset from UTC without its sign, below 1440

	// Abbr is the abbreviation of LayoutOffsetAbbr, such as CEST or +03, or the
	// text after the seconds of LayoutSuffix and LayoutSuffixT, such as ".000 UTC".
	Abbr string

	// Zeros is the number of zeros after the digits of the price, Price.Zeros.
	Zeros uint8
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
	n, err := fractionLen(rest)
	if err != nil {
		return TimestampStyle{}, err
	}
	z, err := parseZone(sep, rest, n)
	if err != nil {
		return TimestampStyle{}, err
	}
	if n > 0 || z.isSuffix() {
		if len(rest) > maxAbbrLen {
			return TimestampStyle{}, syntaxError(maxAbbrLen, "date: %d bytes after the seconds, want up to %d", len(rest), maxAbbrLen)
		}
		z.Layout, z.Abbr = LayoutSuffix, string(rest)
		if sep == 'T' {
			z.Layout = LayoutSuffixT
		}
	}
	return z, nil
}

// fractionLen returns the length of the fraction of a second at the start of
// rest, which must consist of zeros.
func fractionLen(rest []byte) (int, error) {
	if len(rest) == 0 || rest[0] != '.' {
		return 0, nil
	}
	n := 1
	for n < len(rest) && rest[n] == '0' {
		n++
	}
	switch {
	case n < len(rest) && rest[n]-'0' <= 9:
		return 0, syntaxError(0, "date: fractions of a second are not supported, except for zeros")
	case n == 1:
		return 0, syntaxError(1, "date: no digit after the point of the seconds")
	case n > 1+maxFraction:
		return 0, syntaxError(1+maxFraction, "date: %d digits in the fraction of a second, want up to %d", n-1, maxFraction)
	}
	return n, nil
}

// parseZone parses the zone at rest[i:]. The layout of the result is
// LayoutSuffix, without Abbr, if version 1 has none for the zone.
func parseZone(sep byte, rest []byte, i int) (TimestampStyle, error) {
	zone := rest[i:]
	switch {
	case len(zone) == 0 && sep == ' ':
		return TimestampStyle{Layout: LayoutWall}, nil
	case len(zone) == 0:
		return TimestampStyle{}, syntaxError(i, "date: no offset, want Z or an offset such as +02:00 after a time with T")
	case sep == 'T' && string(zone) == "Z":
		return TimestampStyle{Layout: LayoutUTC}, nil
	case string(zone) == "Z", string(zone) == "z":
		return TimestampStyle{Layout: LayoutSuffix}, nil
	case zone[0] == '+' || zone[0] == '-':
		colon := len(zone) > 3 && (zone[3] == ':' || sep == 'T' && zone[3]-'0' > 9)
		z, n, err := parseOffset(rest, i, colon, true)
		if err != nil {
			return TimestampStyle{}, err
		}
		if i += n; i < len(rest) {
			return TimestampStyle{}, syntaxError(i, "date: %q after the offset, want nothing", charAt(rest, i))
		}
		z.Layout = LayoutSuffix
		if sep == 'T' && n == len("-07:00") {
			z.Layout = LayoutRFC3339
		}
		return z, nil
	case sep == 'T':
		return TimestampStyle{}, syntaxError(i, "date: %q after the seconds, want Z or an offset such as +02:00", charAt(rest, i))
	case zone[0] != ' ':
		return TimestampStyle{}, syntaxError(i, "date: %q after the seconds, want nothing or an offset such as +0200 CEST", charAt(rest, i))
	}
	i++
	switch word := string(rest[i:]); word {
	case "UTC", "GMT", "Z":
		return TimestampStyle{Layout: LayoutSuffix}, nil
	default:
		letters := strings.IndexFunc(word, func(r rune) bool { return !unicode.IsLetter(r) })
		switch {
		case letters < 0 && word != "":
			return TimestampStyle{}, syntaxError(i, "date: zone %.64q without an offset, want UTC, GMT or one such as +0200 CEST", word)
		case letters > 0:
			return TimestampStyle{}, syntaxError(i+letters, "date: %q in the zone, want UTC, GMT or one such as +0200 CEST", charAt(rest, i+letters))
		}
	}
	return parseOffsetAbbr(rest, i)
}

// parseOffsetAbbr parses an offset at rest[i:], which may be followed by an
// abbreviation.
func parseOffsetAbbr(rest []byte, i int) (TimestampStyle, error) {
	colon := len(rest) > i+3 && rest[i+3] == ':'
	z, n, err := parseOffset(rest, i, colon, false)
	if err != nil {
		return TimestampStyle{}, err
	}
	z.Layout = LayoutOffset
	if colon {
		z.Layout = LayoutSuffix
	}
	if i += n; i == len(rest) {
		return z, nil
	}
	if rest[i] != ' ' {
		return TimestampStyle{}, syntaxError(i, "date: %q after the offset, want a blank and an abbreviation such as CEST", charAt(rest, i))
	}
	i++
	if at := abbrError(rest[i:]); at >= 0 {
		return TimestampStyle{}, syntaxError(i+at, "date: abbreviation %.64q, want up to %d bytes of letters or an offset such as +03", rest[i:], maxAbbrLen)
	}
	if !colon {
		z.Layout, z.Abbr = LayoutOffsetAbbr, string(rest[i:])
	}
	return z, nil
}

// parseOffset parses an offset at rest[i:] and returns its length: one such as
// -07:00 if colon is set, else -0700, and -07 if short is set.
func parseOffset(rest []byte, i int, colon, short bool) (z TimestampStyle, length int, err error) {
	want := "-0700"
	if colon {
		want = "-07:00"
	}
	var n [4]uint16
	digits := n[:0]
	for j := range want {
		if short && j == len("-07") && (i+j == len(rest) || !colon && rest[i+j]-'0' > 9) {
			want = want[:j]
			break
		}
		if i+j >= len(rest) {
			return z, 0, syntaxError(len(rest), "date: incomplete offset, want one such as %s", want)
		}
		c := rest[i+j]
		switch {
		case j == 0 && (c == '+' || c == '-'), want[j] == ':' && c == ':':
		case j > 0 && want[j] != ':' && c-'0' <= 9:
			digits = append(digits, uint16(c-'0'))
		default:
			return z, 0, syntaxError(i+j, "date: %q in the offset, want one such as %s", charAt(rest, i+j), want)
		}
	}
	hours, minutes := n[0]*10+n[1], n[2]*10+n[3]
	if hours > 23 || minutes > 59 {
		return z, 0, syntaxError(i, "date: there is no offset of %02d:%02d", hours, minutes)
	}
	return TimestampStyle{Negative: rest[i] == '-', Minutes: hours*60 + minutes}, len(want), nil
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
	if z.isT() {
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
	case LayoutSuffix, LayoutSuffixT:
		dst = append(dst, z.Abbr...)
	}
	return dst
}

// isT reports whether date and time are separated by a T.
func (z *TimestampStyle) isT() bool {
	return z.Layout == LayoutUTC || z.Layout == LayoutRFC3339 || z.Layout == LayoutSuffixT
}

func (z *TimestampStyle) isSuffix() bool {
	return z.Layout == LayoutSuffix || z.Layout == LayoutSuffixT
}

// hasOffset reports whether the row wrote an offset in digits.
func (z *TimestampStyle) hasOffset() bool {
	switch z.Layout {
	case LayoutWall, LayoutUTC:
		return false
	case LayoutSuffix, LayoutSuffixT:
		return strings.ContainsAny(z.Abbr, "+-")
	}
	return true
}

// hasZone reports whether the row wrote an offset, in digits or as a word.
func (z *TimestampStyle) hasZone() bool {
	switch z.Layout {
	case LayoutWall:
		return false
	case LayoutSuffix, LayoutSuffixT:
		return strings.TrimLeft(z.Abbr, ".0") != "" // without the fraction of a second
	}
	return true
}

// version returns the lowest version of the format that has z.
func (z *TimestampStyle) version() uint32 {
	if z.isSuffix() || z.Zeros > 0 {
		return version2
	}
	return version1
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
	second := z.Zeros << zerosShift
	if z.Negative {
		second |= 1
	}
	dst = append(dst, byte(z.Layout), second)
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
	if len(b) < n {
		return TimestampStyle{}, 0, false
	}
	z = TimestampStyle{
		Layout:   Layout(b[0]),
		Negative: b[1]&1 == 1,
		Minutes:  binary.BigEndian.Uint16(b[2:]),
		Abbr:     string(b[styleHeadLen:n]),
		Zeros:    b[1] >> zerosShift,
	}
	return z, n, z.valid()
}

func (z TimestampStyle) valid() bool {
	if z.Minutes >= 24*60 || z.Zeros > MaxZeros {
		return false
	}
	switch z.Layout {
	case LayoutWall, LayoutUTC:
		return !z.Negative && z.Minutes == 0 && z.Abbr == ""
	case LayoutOffset, LayoutRFC3339:
		return z.Abbr == ""
	case LayoutOffsetAbbr:
		return abbrError([]byte(z.Abbr)) < 0
	case LayoutSuffix, LayoutSuffixT:
		sep := byte(' ')
		if z.isT() {
			sep = 'T'
		}
		parsed, err := ParseTimestampStyle(sep, []byte(z.Abbr))
		parsed.Zeros = z.Zeros
		return err == nil && parsed == z
	}
	return false
}

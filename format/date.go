package format

import "encoding/binary"

const (
	wallLen     = len("2006-01-02 15:04:05")
	daySeconds  = 24 * 60 * 60
	daysOf10000 = 3652425 // from 0000-01-01 to 10000-01-01

	// maxSeconds is 9999-12-31 23:59:59.
	maxSeconds = daysOf10000*daySeconds - 1
)

// ParseDate parses the date and the time of a timestamp in one of the five
// layouts, and checks them against the calendar. seconds is the wall clock since
// 0000-01-01 00:00:00. sep, the character between date and time, and style, the
// rest of text, are the arguments of ParseTimestampStyle. The error is a
// *SyntaxError.
func ParseDate(text []byte) (seconds uint64, sep byte, style []byte, err error) {
	if len(text) < wallLen {
		return 0, 0, nil, dateError(text)
	}
	sep = text[10]
	// Each word holds two-digit numbers. The pattern turns digits into 0 to 9
	// and punctuation into 0, to check all eight bytes at once.
	date, ok0 := twoDigits(binary.LittleEndian.Uint64(text), 0x2D30302D30303030, 0xFF0000FF00000000) // 2006-01-
	rest, ok1 := twoDigits(binary.LittleEndian.Uint64(text[8:]), 0x30303A3030003030|uint64(sep)<<16, 0x0000FF0000FF0000)
	tail, ok2 := twoDigits(binary.LittleEndian.Uint64(text[11:]), 0x30303A30303A3030, 0x0000FF0000FF0000) // 15:04:05
	year := date&0xFF*100 + date>>16&0xFF
	month := date >> 40 & 0xFF
	day := rest & 0xFF
	hour := rest >> 24 & 0xFF
	minute := rest >> 48 & 0xFF
	second := tail >> 48 & 0xFF
	if !ok0 || !ok1 || !ok2 || sep != ' ' && sep != 'T' || hour > 23 || minute > 59 || second > 59 {
		return 0, 0, nil, dateError(text)
	}
	days, ok := dayNumber(year, month, day)
	if !ok {
		return 0, 0, nil, dateError(text)
	}
	return days*daySeconds + hour*3600 + minute*60 + second, sep, text[wallLen:], nil
}

// twoDigits parses eight characters, the first in the lowest byte: byte i of v is
// the value of the digits i and i+1. Bytes in mask must equal those of pattern;
// a '0' in pattern stands for any digit.
func twoDigits(x, pattern, mask uint64) (v uint64, ok bool) {
	const ones = 0x0101010101010101
	x ^= pattern
	bad := (x+(0x80-10)*ones|x)&(0x80*ones) | x&mask
	return x*10 + x>>8, bad == 0
}

// years maps a year to twice the number of days from 0000-01-01 to its first
// day, plus 1 for a leap year. The dates of a few years use a few cache lines;
// dividing by 4, 100 and 400 instead costs 3 ns for each date.
var years = func() (years [10000]uint32) {
	days := uint32(0)
	for y := range years {
		years[y] = days << 1
		days += 365
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			years[y] |= 1
			days++
		}
	}
	return years
}()

// daysBefore holds the days of a year before each month, counted from 1, for
// common years and for leap years. Month 13 holds the days of the whole year.
var daysBefore = [2][16]uint16{
	{1: 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365},
	{1: 0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 366},
}

// dayNumber returns the number of days since 0000-01-01. year must be below
// 10000. ok reports whether the date exists.
func dayNumber(year, month, day uint64) (n uint64, ok bool) {
	y := years[year]
	before := &daysBefore[y&1]
	if month-1 > 11 || day-1 >= uint64(before[month+1]-before[month]) {
		return 0, false
	}
	return uint64(y>>1) + uint64(before[month]) + day - 1, true
}

func dateError(text []byte) error {
	const pattern = "0000-00-00 00:00:00"
	for i := 0; i < wallLen; i++ {
		switch {
		case i == len(text):
			return syntaxError(i, "date: %s, want at least those of 2006-01-02 15:04:05", characters(i))
		case pattern[i] == '0' && text[i]-'0' > 9:
			return syntaxError(i, "date: %q at character %d, want a digit as in 2006-01-02 15:04:05", charAt(text, i), i+1)
		case i == 10 && text[i] == 'T':
		case pattern[i] != '0' && text[i] != pattern[i]:
			return syntaxError(i, "date: %q at character %d, want %q as in 2006-01-02 15:04:05", charAt(text, i), i+1, pattern[i])
		}
	}
	num := func(i int) uint64 { return uint64(text[i]-'0')*10 + uint64(text[i+1]-'0') }
	year, month, day := num(0)*100+num(2), num(5), num(8)
	_, hasDay := dayNumber(year, month, day)
	switch {
	case month < 1 || month > 12:
		return syntaxError(5, "date: there is no month %02d", month)
	case !hasDay:
		return syntaxError(8, "date: %04d-%02d has no day %02d", year, month, day)
	case num(11) > 23:
		return syntaxError(11, "date: there is no hour %02d", num(11))
	case num(14) > 59:
		return syntaxError(14, "date: there is no minute %02d", num(14))
	default:
		return syntaxError(17, "date: there is no second %02d", num(17))
	}
}

// appendWall appends a wall clock with sep between date and time. seconds may lie
// outside the years 0 to 9999 by an offset from UTC.
//
// The calendar arithmetic is civil_from_days of Howard Hinnant,
// "chrono-Compatible Low-Level Date Algorithms", 2021.
func appendWall(dst []byte, seconds int64, sep byte) []byte {
	days, clock := seconds/daySeconds, seconds%daySeconds
	if clock < 0 {
		days, clock = days-1, clock+daySeconds
	}
	z := days - 60 // since 0000-03-01
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	year := yoe + era*400
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day := doy - (153*mp+2)/5 + 1
	month := mp + 3
	if month > 12 {
		month -= 12
		year++
	}
	if year < 0 {
		dst, year = append(dst, '-'), -year
	}
	if year > 9999 {
		dst, year = append(dst, byte('0'+year/10000)), year%10000
	}
	dst = append2(dst, year/100)
	dst = append2(dst, year%100)
	dst = append2(append(dst, '-'), month)
	dst = append2(append(dst, '-'), day)
	dst = append2(append(dst, sep), clock/3600)
	dst = append2(append(dst, ':'), clock/60%60)
	return append2(append(dst, ':'), clock%60)
}

func append2(dst []byte, n int64) []byte {
	return append(dst, byte('0'+n/10), byte('0'+n%10))
}

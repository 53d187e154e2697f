package synth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"promostore/format"
)

// ErrTable says that no table has these numbers of rows and duplicates.
var ErrTable = errors.New("no such table")

// A Table is a promotions CSV without a header row:
//
//	d431e6be-7538-49ab-bd94-cfd297c66b8e,9.689842,2018-06-04 06:01:20 +0200 CEST
//
// Prices have six decimals, from 0.55 to just under 100. Dates go evenly from
// the end of May to the end of October 2018 by the clock of Berlin, so 98 % of
// them are summer time and the hour that occurs twice on 28 October has both.
type Table struct {
	Keys       Keys
	Rows       int64 // all of them
	Duplicates int64 // of Rows: evenly spread, each repeats an earlier id with a price and a date of its own
}

// Seconds since 1970 UTC.
const (
	firstExpiry = 1527717600 // 2018-05-31 00:00:00 +0200 CEST
	endExpiry   = 1540944000 // 2018-10-31 01:00:00 +0100 CET
	winterStart = 1540688400 // 2018-10-28 02:00:00 +0100 CET, which was 03:00:00 CEST
)

// Millionths.
const (
	minPrice = 550_000
	endPrice = 100_000_000
)

// rowLen is the longest row in bytes, its line end included.
const rowLen = format.TextLen + len(",99.999999,2018-06-04 06:01:20 +0200 CEST\n")

// chunkLen is how many bytes WriteTo writes at once, about.
const chunkLen = 256 << 10

// Check reports whether there can be such a table. The error is ErrTable.
func (t Table) Check() error {
	if t.Rows < 0 || t.Duplicates < 0 || t.Duplicates > 0 && t.Duplicates >= t.Rows {
		return fmt.Errorf("%w: %d rows, %d of them duplicates", ErrTable, t.Rows, t.Duplicates)
	}
	return nil
}

// WriteTo writes the table to w. The errors are those of Check and of w.
func (t Table) WriteTo(w io.Writer) (n int64, err error) {
	if err := t.Check(); err != nil {
		return 0, err
	}
	var (
		seed     = mix(t.Keys.Seed ^ 0x70726963652C6461) // another sequence than that of the ids
		clock    = newWall()
		buf      = make([]byte, 0, chunkLen+rowLen)
		distinct = uint64(0) // ids given out so far
		carry    = int64(0)  // row·Duplicates modulo Rows: a duplicate whenever it wraps
	)
	for row := range uint64(t.Rows) {
		a := mix(seed + row*gamma)
		index := distinct
		if carry += t.Duplicates; carry >= t.Rows {
			carry -= t.Rows
			index = below(mix(a), distinct)
		} else {
			distinct++
		}
		buf = t.Keys.At(index).AppendText(buf, false)
		buf = appendPrice(buf, minPrice+below(a<<32, endPrice-minPrice))
		buf = clock.append(buf, firstExpiry+below(a, endExpiry-firstExpiry))
		if len(buf) >= chunkLen {
			m, err := w.Write(buf)
			n += int64(m)
			if err != nil {
				return n, err
			}
			buf = buf[:0]
		}
	}
	m, err := w.Write(buf)
	return n + int64(m), err
}

// below takes the random 64 bits of x to a number below n.
func below(x, n uint64) uint64 {
	hi, _ := bits.Mul64(x, n)
	return hi
}

// appendPrice appends a comma and a price in millionths, below 100.
func appendPrice(dst []byte, p uint64) []byte {
	whole, millionths := p/1_000_000, uint32(p%1_000_000)
	dst = append(dst, ',')
	if whole >= 10 {
		dst = append(dst, byte('0'+whole/10))
	}
	a, b, c := millionths/10_000, millionths/100%100, millionths%100
	return append(dst, byte('0'+whole%10), '.',
		byte('0'+a/10), byte('0'+a%10), byte('0'+b/10), byte('0'+b%10), byte('0'+c/10), byte('0'+c%10))
}

const (
	dayLen   = len(",2018-06-04 ")
	clockLen = len("06:01:20 +0200 CEST\n")
	hour     = 3600
	day      = 24 * hour
)

// wall writes dates. It has the text of every day at hand: the calendar took a
// third of the time of a row.
type wall struct {
	days [][dayLen]byte
}

func newWall() *wall {
	const days = (endExpiry-firstExpiry)/day + 1
	c := &wall{days: make([][dayLen]byte, days)}
	style := format.TimestampStyle{Layout: format.LayoutWall}
	first, _, _, err := format.ParseDate([]byte("2018-05-31 00:00:00"))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for i := range c.days {
		text := style.AppendDate([]byte{','}, first+uint64(i)*day)
		copy(c.days[i][:], text)
	}
	return c
}

// append appends a comma, the date of an instant, and a line end.
func (c *wall) append(dst []byte, instant uint64) []byte {
	since, style, tail := instant-firstExpiry, " +0200 C", "EST\n"
	if instant >= winterStart {
		since, style, tail = since-hour, " +0100 C", "ET\n"
	}
	dst = append(dst, c.days[since/day][:]...)
	s := since % day
	h, m, sec := s/hour, s/60%60, s%60
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], two(h)|':'<<16|two(m)<<24|':'<<40|two(sec)<<48)
	copy(b[8:], style)
	return append(append(dst, b[:]...), tail...)
}

// two is the two digits of n, first digit lowest.
func two(n uint64) uint64 { return '0' + n/10 | ('0'+n%10)<<8 }

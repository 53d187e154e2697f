package synth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"promostore/format"
)

// ErrDataSet reports invalid numbers of rows and duplicates.
var ErrDataSet = errors.New("impossible data set")

// A DataSet is a data set in CSV without a header row:
//
//	d431e6be-7538-49ab-bd94-cfd297c66b8e,9.689842,2018-06-04 06:01:20 +0200 CEST
//
// Prices have six decimals, from 0.55 to just under 100. Dates are evenly
// distributed from the end of May to the end of October 2018, in Berlin time: 98 %
// are summer time, and the repeated hour on 28 October has both.
type DataSet struct {
	Keys       Keys
	Rows       int64 // including duplicates
	Duplicates int64 // evenly spread rows that repeat an earlier id with another price and date
}

// Seconds since 1970 UTC.
const (
	firstExpiry = 1527717600 // 2018-05-31 00:00:00 +0200 CEST
	endExpiry   = 1540944000 // 2018-10-31 01:00:00 +0100 CET
	winterStart = 1540688400 // 2018-10-28 02:00:00 +0100 CET, the same as 03:00:00 CEST
)

// Millionths.
const (
	minPrice = 550_000
	endPrice = 100_000_000
)

// rowLen is the length of the longest row in bytes, including the line end.
const rowLen = format.TextLen + len(",99.999999,2018-06-04 06:01:20 +0200 CEST\n")

// chunkLen is the approximate length of a write of WriteTo in bytes.
const chunkLen = 256 << 10

// Check checks the numbers of rows and duplicates. The error wraps ErrDataSet.
func (d DataSet) Check() error {
	if d.Rows < 0 || d.Duplicates < 0 || d.Duplicates > 0 && d.Duplicates >= d.Rows {
		return fmt.Errorf("%w: %d rows, %d of them duplicates", ErrDataSet, d.Rows, d.Duplicates)
	}
	return nil
}

// WriteTo writes the data set to w. It returns errors of Check and of w.
func (d DataSet) WriteTo(w io.Writer) (n int64, err error) {
	if err := d.Check(); err != nil {
		return 0, err
	}
	var (
		seed     = mix(d.Keys.Seed ^ 0x70726963652C6461) // a sequence independent of the ids
		clock    = newWall()
		buf      = make([]byte, 0, chunkLen+rowLen)
		distinct = uint64(0) // distinct ids so far
		carry    = int64(0)  // row·Duplicates modulo Rows; a row is a duplicate if it wraps
	)
	for row := range uint64(d.Rows) {
		a := mix(seed + row*gamma)
		index := distinct
		if carry += d.Duplicates; carry >= d.Rows {
			carry -= d.Rows
			index = below(mix(a), distinct)
		} else {
			distinct++
		}
		buf = d.Keys.At(index).AppendText(buf, false)
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

// below maps 64 random bits to a number below n.
func below(x, n uint64) uint64 {
	hi, _ := bits.Mul64(x, n)
	return hi
}

// appendPrice appends a comma and a price, given in millionths and below 100.
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

// wall writes dates. It holds the text of every day, because calendar arithmetic
// took a third of the time of a row.
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

// append appends a comma, the date of an instant and a line end.
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

// two returns the two digits of n, the first digit in the lowest byte.
func two(n uint64) uint64 { return '0' + n/10 | ('0'+n%10)<<8 }

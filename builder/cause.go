package builder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"promostore/format"
)

// A DelimiterError reports an input whose rows have another delimiter than
// Options.Delimiter.
type DelimiterError struct {
	Found, Want byte
	Preamble    bool // the first line is one for another program, such as "sep=;"
}

func (e *DelimiterError) Error() string {
	text := fmt.Sprintf("fields separated by %q, not by %q", e.Found, e.Want)
	if e.Preamble {
		text += "; the first line is not a row"
	}
	return text
}

// A ColumnsError reports an input whose rows have the three columns in another
// order, or others among them.
type ColumnsError struct {
	ID, Price, Expiration int // places of the columns, counted from 1
	Columns               int // of each row
	Delimiter             byte
}

func (e *ColumnsError) Error() string {
	d := string(e.Delimiter)
	if e.Delimiter < ' ' {
		d = fmt.Sprintf(`\%03o`, e.Delimiter)
	}
	return fmt.Sprintf("id, price and expiration_date are the columns %d, %d and %d of %d; reorder them: awk -F '%s' -v OFS='%s' '{print $%d, $%d, $%d}' FILE",
		e.ID, e.Price, e.Expiration, e.Columns, d, d, e.ID, e.Price, e.Expiration)
}

// errBlanks is the cause of bad rows that only have blanks around their fields.
var errBlanks = errors.New("blanks around the fields; write the rows without them")

// Causes that concern one row, which is usually the first one.
var (
	errOtherHeader = errors.New("a header of other names, want id, price and expiration_date, or no header")
	errSeparator   = errors.New(`a "sep=" line of Excel; remove it: sed 1d FILE`)
	errType        = errors.New(`a "#TYPE" line of PowerShell; remove it: sed 1d FILE`)
	errCount       = errors.New("the count of rows that psql prints; remove it, or write the rows with psql --csv")
	errEnd         = errors.New(`the end mark "\." of COPY; remove it`)
	errHeaderAgain = errors.New("a header after other rows; remove it, or build the files without joining them")
)

// preambleError returns an error if line is one that a program writes before the
// header for another program, and nil if it is not.
func preambleError(line []byte) error {
	switch line = bytes.Trim(line, `"`); {
	case len(line) == len("sep=;") && bytes.EqualFold(line[:4], []byte("sep=")):
		return errSeparator
	case bytes.HasPrefix(line, []byte("#TYPE ")):
		return errType
	}
	return nil
}

// trailerError returns an error if line is one that a program writes after the
// rows, and nil if it is not.
func trailerError(line []byte) error {
	count, ok := bytes.CutPrefix(line, []byte("("))
	count = bytes.TrimLeft(count, "0123456789")
	switch {
	case ok && (string(count) == " row)" || string(count) == " rows)"):
		return errCount
	case string(line) == `\.`:
		return errEnd
	}
	return nil
}

// firstRowError returns the cause why the first row of an input is bad, or nil
// if it has nothing to do with being the first.
func (p *parser) firstRowError(line []byte) error {
	if err := preambleError(line); err != nil {
		return err
	}
	if err := p.columnsError(line); errors.Is(err, errBlanks) {
		return err
	}
	fields, _, _, err := splitRow(line, p.delimiter)
	if err != nil || bytes.ContainsAny(line, "0123456789") {
		return nil
	}
	for _, f := range fields {
		if len(f) == 0 {
			return nil
		}
	}
	return errOtherHeader
}

// maxExamined is the number of rows at the start of an input that are examined
// for a common cause.
const maxExamined = 20

// A diagnosis finds the cause why the first rows of an input are bad.
type diagnosis struct {
	rows  int   // examined
	first error // why the first row is bad, or nil
	all   error // why all rows so far are bad, or nil
	kind  bool  // all is a *KindError
	ended bool  // a row is good, or two rows have different causes
}

// add examines the rows of the next chunk of the input.
func (d *diagnosis) add(c chunk, p *parser) {
	if d.rows == 0 && len(p.bad) > 0 && !d.ended && c.first {
		if lo := p.bad[0].lo; isFirstRow(c, lo) {
			d.first = p.firstRowError(c.data[lo:p.bad[0].hi])
		}
	}
	if len(p.records) > 0 {
		d.ended, d.all = true, nil
	}
	for _, bad := range p.bad {
		if d.ended || d.rows == maxExamined {
			return
		}
		if d.rows++; d.rows == 1 {
			d.all = textKind(c.data)
			d.kind = d.all != nil
		}
		if !d.kind {
			line := c.data[bad.lo:bad.hi]
			if c.cut { // before or after a blank
				line = bytes.TrimRight(line, " ")
			}
			d.examine(p, line)
		}
	}
}

// cause returns the cause of the bad rows of an input, or nil.
func (d *diagnosis) cause() error {
	var delimiter *DelimiterError
	if errors.As(d.all, &delimiter) && (errors.Is(d.first, errSeparator) || errors.Is(d.first, errType)) {
		return &DelimiterError{delimiter.Found, delimiter.Want, true}
	}
	return cmp.Or(d.all, d.first)
}

// examine examines one bad row.
func (d *diagnosis) examine(p *parser, line []byte) {
	cause := p.cause(line)
	switch {
	case cause == nil && d.rows == 1 && d.first != nil: // not a row of the data
	case cause == nil, d.all != nil && d.all.Error() != cause.Error():
		d.ended, d.all = true, nil
	default:
		d.all = cause
	}
}

// cause returns a cause why line is bad that can be the same for all rows, or
// nil.
func (p *parser) cause(line []byte) error {
	if c := delimiterOf(line, p.delimiter); c != p.delimiter {
		return &DelimiterError{Found: c, Want: p.delimiter}
	}
	return p.columnsError(line)
}

// delimiterOf returns the delimiter of a row or header, or want if that may be
// it.
func delimiterOf(line []byte, want byte) byte {
	plain := bytes.Map(func(r rune) rune {
		if r == '"' || r == '{' || r == '}' {
			return -1
		}
		return r
	}, line)
	if bytes.EqualFold(plain[:min(len(plain), 4)], []byte("sep=")) && len(plain) == len("sep=;") {
		return plain[4]
	}
	for _, id := range []int{format.TextLen, len("id")} {
		if len(plain) <= id || !ValidDelimiter(plain[id]) {
			continue
		}
		if _, _, err := format.ParseKey(plain[:id]); err == nil || bytes.EqualFold(plain[:id], []byte("id")) {
			return plain[id]
		}
	}
	if bytes.IndexByte(plain, want) < 0 {
		for _, c := range []byte(",;\t|\x01\x1f") {
			if bytes.Count(plain, []byte{c}) == numFields-1 {
				return c
			}
		}
	}
	return want
}

// columnsError returns a *ColumnsError if line has each of the three columns
// once, but not in their order or not alone, and errBlanks if only blanks are
// wrong.
func (p *parser) columnsError(line []byte) error {
	fields := strings.Split(string(line), string(p.delimiter))
	e := &ColumnsError{Columns: len(fields), Delimiter: p.delimiter}
	blanks := false
	for i, f := range fields {
		at := &e.Price
		blanks = blanks || strings.TrimSpace(f) != f
		switch f = strings.Trim(f, "\" \t"); {
		case strings.EqualFold(f, "id") || isID(f):
			at = &e.ID
		case strings.EqualFold(f, "expiration_date") || isDate(f):
			at = &e.Expiration
		case strings.EqualFold(f, "price") || isPrice(f):
		default:
			continue
		}
		if *at != 0 { // two candidates
			return nil
		}
		*at = i + 1
	}
	switch {
	case e.ID == 0 || e.Price == 0 || e.Expiration == 0:
		return nil
	case e.ID != 1 || e.Price != 2 || e.Expiration != 3 || e.Columns != numFields:
		return e
	case blanks:
		return errBlanks
	}
	return nil
}

func isID(s string) bool {
	id, _ := trimBraces([]byte(s))
	_, _, err := format.ParseKey(id)
	return err == nil
}

func isPrice(s string) bool {
	_, err := format.ParsePrice([]byte(s))
	return err == nil
}

func isDate(s string) bool {
	_, sep, style, err := format.ParseDate([]byte(s))
	if err != nil {
		return false
	}
	_, err = format.ParseTimestampStyle(sep, style)
	return err == nil
}

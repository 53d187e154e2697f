package builder

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"promostore/format"
)

// maxText is the number of bytes of a bad row that an error shows.
const maxText = 200

// minRowLen is the length of the shortest row, in bytes: an id, a digit, a date,
// two delimiters and a line end.
const minRowLen = format.TextLen + 1 + 1 + 1 + len("2006-01-02 15:04:05") + 1

// ValidDelimiter reports whether c can separate fields: no field contains it.
func ValidDelimiter(c byte) bool {
	if c < ' ' { // a control character, such as Ctrl-A of Hive
		return c != 0 && c != '\n' && c != '\r'
	}
	return c > ' ' && c < 0x7f && !strings.ContainsRune("+-.:\"", rune(c)) &&
		!('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z')
}

// A parser converts chunks to records. The results of parse are valid until the
// next call.
type parser struct {
	delimiter byte
	styles    styleCache

	records []format.Record // of the chunk, in the order of its rows
	lines   int64           // of the chunk
	bad     []badLine       // of the chunk
}

// A badLine is the position of a bad row in its chunk. Reasons are computed by
// explain, only for the rows shown.
type badLine struct {
	line   int64 // counted from 1 in the chunk
	lo, hi int   // offsets in the data of the chunk
	err    error // of checkCut; nil: of row
}

// newParser returns a parser of chunks of at most chunkLen bytes.
func newParser(delimiter byte, styles *styleDictionary, chunkLen int) *parser {
	return &parser{
		delimiter: delimiter,
		styles:    styleCache{dictionary: styles},
		records:   make([]format.Record, 0, chunkLen/minRowLen+1),
	}
}

// parse parses a chunk. Bad rows are no error; an error fails the build.
func (p *parser) parse(c chunk) error {
	p.records, p.lines, p.bad = p.records[:0], 0, p.bad[:0]
	p.styles.begin(c.order())
	if c.long {
		p.lines = 1
		p.bad = append(p.bad, badLine{line: 1, hi: len(c.data)})
		return nil
	}
	data := c.data
	if c.first {
		data = p.skipHeader(data)
	}
	for len(data) > 0 {
		i := len(p.records)
		if n := p.plainRow(data, &p.records[:i+1][i]); n > 0 {
			p.records = p.records[:i+1]
			p.lines++
			data = data[n:]
			continue
		}
		lo := len(c.data) - len(data)
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		p.lines++
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) == 0 {
			continue
		}
		r, _, err := p.row(line)
		switch {
		case err == nil:
			p.records = append(p.records, r)
		case isFatal(err):
			return err
		default:
			p.bad = append(p.bad, badLine{line: p.lines, lo: lo, hi: lo + len(line)})
		}
	}
	return nil
}

// explain returns a bad row of c with the reason. Line is counted in the chunk,
// Input is empty, and Text is the whole row.
func (p *parser) explain(c chunk, bad badLine) BadRow {
	line := c.data[bad.lo:bad.hi]
	row := BadRow{Line: bad.line, Column: 1, Text: string(line)}
	if c.long {
		row.Reason = fmt.Sprintf("row: longer than %d bytes", len(c.data)-1)
		return row
	}
	switch {
	case isFirstRow(c, bad.lo) && !c.cut:
		if err := p.firstRowError(line); err != nil {
			row.Reason = "row: " + err.Error()
			return row
		}
	case preambleError(line) != nil:
		row.Reason = "row: " + preambleError(line).Error()
		return row
	case trailerError(line) != nil:
		row.Reason = "row: " + trailerError(line).Error()
		return row
	case p.isHeader(line):
		row.Reason = "row: " + errHeaderAgain.Error()
		return row
	}
	if bad.err != nil {
		row.Column, row.Reason = len(line)+1, bad.err.Error()
		return row
	}
	_, at, err := p.row(line)
	row.Column, row.Reason = at+1, err.Error()
	if c.cut {
		row.Reason += "; the input ends in this row, without a line end"
	}
	return row
}

// checkCut reports whether the row of c, the last one of its input and without a
// line end, is complete. If it is not, the row becomes a bad one. All chunks
// before c must have been parsed. continued means that other builds have parsed some
// of them; if these may decide, checkCut returns a *LastRowError.
func (p *parser) checkCut(c chunk, continued bool) (complete bool, err error) {
	line := bytes.TrimSuffix(c.data, []byte{'\r'})
	if len(p.records) == 0 || line[len(line)-1] == '"' { // bad, or a quoted date
		return true, nil
	}
	d, n := p.styles.dictionary, uint16(p.records[0].Style())
	if continued && d.isUnclear(n, c.order()) {
		return false, &LastRowError{Text: string(line)}
	}
	short, whole, ok := d.isCut(n, c.order())
	if !ok {
		return true, nil
	}
	p.records = p.records[:0]
	p.bad = append(p.bad, badLine{
		line: 1,
		lo:   len(c.data) - len(bytes.TrimPrefix(c.data, []byte("\xef\xbb\xbf"))),
		hi:   len(line),
		err:  fmt.Errorf("date: the input ends after %s, without a line end, want %s", short, whole),
	})
	return false, nil
}

// A LastRowError reports a last row without a line end, of which only rows of other
// builds can tell whether it is complete, see Options.Continued.
type LastRowError struct {
	Text string // the row
}

func (e *LastRowError) Error() string {
	return fmt.Sprintf("the last row has no line end and may be cut: %q; if it is complete, add a line end", e.Text)
}

// isFirstRow reports whether a row at this offset is the first of an input.
func isFirstRow(c chunk, at int) bool {
	return c.first && len(bytes.Trim(c.data[:at], "\xef\xbb\xbf\r\n")) == 0
}

// plainRow parses the row at the start of data and returns its length with the
// line end. It returns 0 if the row has quotes, no line end or an error; row must
// then parse it. Scanning for the ends of row and price first costs 44 ns per row;
// this costs 37 (BenchmarkParse).
func (p *parser) plainRow(data []byte, r *format.Record) (n int) {
	if len(data) < minRowLen || data[format.TextLen] != p.delimiter {
		return 0
	}
	key, upper, err := format.ParseKey(data[:format.TextLen])
	if err != nil {
		return 0
	}
	price, n := format.CutPrice(data[format.TextLen+1:])
	rest := data[format.TextLen+1+n:]
	if n == 0 || len(rest) == 0 || rest[0] != p.delimiter {
		return 0
	}
	seconds, sep, rest, err := format.ParseDate(rest[1:])
	if err != nil {
		return 0
	}
	number, rest, ok := p.styles.cut(styleKeyOf(sep, price), rest)
	if !ok {
		return 0
	}
	*r = format.MakeRecord(key, upper, price, seconds, number)
	return len(data) - len(rest)
}

// row parses any row. at is the offset of the error in line.
func (p *parser) row(line []byte) (r format.Record, at int, err error) {
	fields, offs, at, err := splitRow(line, p.delimiter)
	if err != nil {
		return r, at, err
	}
	id, brace := trimBraces(fields[0])
	key, upper, err := format.ParseKey(id)
	if err != nil {
		return r, offs[0] + brace + offsetOf(err), err
	}
	price, err := format.ParsePrice(fields[1])
	if err != nil {
		return r, offs[1] + offsetOf(err), err
	}
	seconds, sep, style, err := format.ParseDate(fields[2])
	if err != nil {
		return r, offs[2] + offsetOf(err), err
	}
	number, err := p.styles.number(styleKeyOf(sep, price), style)
	if err != nil {
		return r, offs[2] + len(fields[2]) - len(style) + offsetOf(err), err
	}
	return format.MakeRecord(key, upper, price, seconds, number), 0, nil
}

// trimBraces removes the braces around an id and returns the offset of the rest.
func trimBraces(id []byte) (rest []byte, off int) {
	if len(id) == format.TextLen+2 && id[0] == '{' && id[len(id)-1] == '}' {
		return id[1 : len(id)-1], 1
	}
	return id, 0
}

func offsetOf(err error) int {
	var syntax *format.SyntaxError
	if errors.As(err, &syntax) {
		return syntax.Offset
	}
	return 0
}

const numFields = 3

// splitRow splits a row into its fields, without their quotes (RFC 4180), and
// returns the offset of each. The fields share the memory of line.
//
// A quoted field ends on its line, because no field of a promotion contains a
// line end. So a stray quote costs one row and not the rest of the file.
func splitRow(line []byte, delimiter byte) (fields [numFields][]byte, offs [numFields]int, at int, err error) {
	n := 0
	for i := 0; ; n++ {
		start, end := i, 0
		if i < len(line) && line[i] == '"' {
			start++
			j := bytes.IndexByte(line[start:], '"')
			if j < 0 {
				return fields, offs, i, errors.New("row: quote not closed on its line")
			}
			end = start + j
			i = end + 1
			if i < len(line) && line[i] != delimiter {
				return fields, offs, i, fmt.Errorf("row: %q after a closing quote, not a delimiter", line[i])
			}
		} else {
			end = len(line)
			if j := bytes.IndexByte(line[i:], delimiter); j >= 0 {
				end = i + j
			}
			i = end
		}
		if n < numFields {
			fields[n], offs[n] = line[start:end], start
		}
		if i >= len(line) {
			break
		}
		i++
	}
	if n++; n == numFields {
		return fields, offs, 0, nil
	}
	noun := "fields"
	if n == 1 {
		noun = "field"
	}
	hint := ""
	for _, other := range []byte(",;\t|\x01\x1f") {
		if other != delimiter && bytes.Count(line, []byte{other}) == numFields-1 {
			hint = fmt.Sprintf("; is the delimiter %q?", other)
		}
	}
	names := fmt.Sprintf("id%cprice%cexpiration_date", delimiter, delimiter)
	if delimiter < ' ' {
		names = fmt.Sprintf("id, price and expiration_date, separated by %q", delimiter)
	}
	return fields, offs, 0, fmt.Errorf("row: %d %s, not the %d of %s%s", n, noun, numFields, names, hint)
}

// skipHeader removes the byte-order mark and the header row of an input. Blank
// lines may precede the header, and lines for other programs, which are bad rows.
func (p *parser) skipHeader(data []byte) []byte {
	all := len(data)
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	lines := int64(0)
	for rest := data; len(rest) > 0; {
		lo := all - len(rest)
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		lines++
		switch {
		case len(line) == 0:
		case preambleError(line) != nil:
			p.bad = append(p.bad, badLine{line: p.lines + lines, lo: lo, hi: lo + len(line)})
			p.lines, lines, data = p.lines+lines, 0, rest
		case p.isHeader(line):
			p.lines += lines
			return rest
		default:
			return data
		}
	}
	return data
}

func (p *parser) isHeader(line []byte) bool {
	fields, _, _, err := splitRow(line, p.delimiter)
	return err == nil && strings.EqualFold(string(fields[0]), "id") &&
		strings.EqualFold(string(fields[1]), "price") && strings.EqualFold(string(fields[2]), "expiration_date")
}

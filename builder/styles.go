package builder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"promostore/format"
)

// errStyles ends the build: a row whose zone has no number cannot be kept, and
// which row that is depends on who comes first.
var errStyles = fmt.Errorf("more than %d distinct zones in the dates", format.MaxStyles)

// styleTable numbers the zones of a build in the order in which they are met,
// which is another one in every build. Safe for concurrent use.
type styleTable struct {
	mu     sync.RWMutex
	index  map[styleText]uint16
	styles []format.TimestampStyle
}

// styleText is a zone as format.ParseDate leaves it.
type styleText struct {
	sep  byte
	rest string
}

// number is the number of a zone.
func (t *styleTable) number(sep byte, rest []byte) (uint16, error) {
	t.mu.RLock()
	n, ok := t.index[styleText{sep, string(rest)}]
	t.mu.RUnlock()
	if ok {
		return n, nil
	}
	z, err := format.ParseTimestampStyle(sep, rest)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.index[styleText{sep, string(rest)}]; ok {
		return n, nil
	}
	if len(t.styles) == format.MaxStyles {
		return 0, errStyles
	}
	if t.index == nil {
		t.index = map[styleText]uint16{}
	}
	n = uint16(len(t.styles))
	t.index[styleText{sep, string(rest)}] = n
	t.styles = append(t.styles, z)
	return n, nil
}

// sorted is the dictionary for the file and, unless it is the identity, what
// each number becomes in it.
func (t *styleTable) sorted() (styles []format.TimestampStyle, renumber []uint16) {
	type entry struct {
		bytes []byte
		old   int
	}
	entries := make([]entry, len(t.styles))
	for i, z := range t.styles {
		entries[i] = entry{z.AppendBinary(nil), i}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.bytes, b.bytes), cmp.Compare(a.old, b.old))
	})
	renumber = make([]uint16, len(entries))
	identity := true
	for i, e := range entries {
		styles = append(styles, t.styles[e.old])
		renumber[e.old] = uint16(i)
		identity = identity && e.old == i
	}
	if identity {
		renumber = nil
	}
	return styles, renumber
}

// styleCache remembers the zones that one parser met last: files have few.
type styleCache struct {
	table   *styleTable
	entries [4]struct {
		styleText
		number uint16
	}
	oldest int
}

// cut is the number of the zone that text begins with, and what is behind the
// line end that follows it. If ok is false there is no line end, or the zone is
// none.
func (c *styleCache) cut(sep byte, text []byte) (number uint16, rest []byte, ok bool) {
	for i := range c.entries {
		e := &c.entries[i]
		if e.sep != sep || len(text) <= len(e.rest) || string(text[:len(e.rest)]) != e.rest {
			continue
		}
		if rest := text[len(e.rest):]; rest[0] == '\n' {
			return e.number, rest[1:], true
		} else if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return e.number, rest[2:], true
		}
	}
	line, rest, ok := bytes.Cut(text, []byte{'\n'})
	if !ok {
		return 0, nil, false
	}
	number, err := c.number(sep, bytes.TrimSuffix(line, []byte{'\r'}))
	return number, rest, err == nil
}

func (c *styleCache) number(sep byte, rest []byte) (uint16, error) {
	for i := range c.entries {
		if e := &c.entries[i]; e.sep == sep && e.rest == string(rest) {
			return e.number, nil
		}
	}
	n, err := c.table.number(sep, rest)
	if err != nil {
		return 0, err
	}
	e := &c.entries[c.oldest]
	c.oldest = (c.oldest + 1) % len(c.entries)
	e.styleText, e.number = styleText{sep, string(rest)}, n
	return n, nil
}

// isFatal tells the errors of rows that no tolerance covers.
func isFatal(err error) bool { return errors.Is(err, errStyles) }

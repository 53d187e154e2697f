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

// errZones ends the build: a row whose zone has no number cannot be kept, and
// which row that is depends on who comes first.
var errZones = fmt.Errorf("more than %d distinct zones in the dates", format.MaxZones)

// zoneTable numbers the zones of a build in the order in which they are met,
// which is another one in every build. Safe for concurrent use.
type zoneTable struct {
	mu    sync.RWMutex
	index map[zoneText]uint16
	zones []format.Zone
}

// zoneText is a zone as format.ParseDate leaves it.
type zoneText struct {
	sep  byte
	rest string
}

// number is the number of a zone.
func (t *zoneTable) number(sep byte, rest []byte) (uint16, error) {
	t.mu.RLock()
	n, ok := t.index[zoneText{sep, string(rest)}]
	t.mu.RUnlock()
	if ok {
		return n, nil
	}
	z, err := format.ParseZone(sep, rest)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.index[zoneText{sep, string(rest)}]; ok {
		return n, nil
	}
	if len(t.zones) == format.MaxZones {
		return 0, errZones
	}
	if t.index == nil {
		t.index = map[zoneText]uint16{}
	}
	n = uint16(len(t.zones))
	t.index[zoneText{sep, string(rest)}] = n
	t.zones = append(t.zones, z)
	return n, nil
}

// sorted is the dictionary for the file and, unless it is the identity, what
// each number becomes in it.
func (t *zoneTable) sorted() (zones []format.Zone, renumber []uint16) {
	type entry struct {
		bytes []byte
		old   int
	}
	entries := make([]entry, len(t.zones))
	for i, z := range t.zones {
		entries[i] = entry{z.AppendBinary(nil), i}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.bytes, b.bytes), cmp.Compare(a.old, b.old))
	})
	renumber = make([]uint16, len(entries))
	identity := true
	for i, e := range entries {
		zones = append(zones, t.zones[e.old])
		renumber[e.old] = uint16(i)
		identity = identity && e.old == i
	}
	if identity {
		renumber = nil
	}
	return zones, renumber
}

// zoneCache remembers the zones that one parser met last: files have few.
type zoneCache struct {
	table   *zoneTable
	entries [4]struct {
		zoneText
		number uint16
	}
	oldest int
}

// cut is the number of the zone that text begins with, and what is behind the
// line end that follows it. If ok is false there is no line end, or the zone is
// none.
func (c *zoneCache) cut(sep byte, text []byte) (number uint16, rest []byte, ok bool) {
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

func (c *zoneCache) number(sep byte, rest []byte) (uint16, error) {
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
	e.zoneText, e.number = zoneText{sep, string(rest)}, n
	return n, nil
}

// isFatal tells the errors of rows that no tolerance covers.
func isFatal(err error) bool { return errors.Is(err, errZones) }

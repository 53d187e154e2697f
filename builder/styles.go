package builder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"promostore/format"
)

// A timestamp style is everything of a date except for its wall clock: layout,
// offset and zone abbreviation. It also has the zeros of the price that the
// record does not hold. A record holds the number of its style in the dictionary
// of the file.

// ErrStyles means that the rows have more timestamp styles than a file can have. It
// fails the build for any Options.MaxBadRows. A row whose style has no number could
// only be skipped, and which row that is would depend on the order in which the
// workers meet the styles.
var ErrStyles = fmt.Errorf("more than %d timestamp styles", format.MaxStyles)

// isFatal reports whether an error of a row fails the build.
func isFatal(err error) bool { return errors.Is(err, ErrStyles) }

// A styleDictionary numbers the styles of a build in the order in which workers
// meet them, which differs from build to build. It is safe for concurrent use.
type styleDictionary struct {
	mu     sync.RWMutex
	index  map[styleText]uint16
	styles []format.TimestampStyle
	texts  []styleText // of styles
	first  []int64     // the first chunk that has the style: its order
}

// A styleText is a style as it is written: its key, and the part of the date that
// format.ParseDate leaves.
type styleText struct {
	key  styleKey
	rest string
}

// A styleKey holds the separator of day and time in its low byte, and the zeros
// of the price in its high byte.
type styleKey uint16

func styleKeyOf(sep byte, price format.Price) styleKey {
	return styleKey(sep) | styleKey(price.Zeros)<<8
}

// number returns the number of a style that a row of a chunk has.
func (d *styleDictionary) number(key styleKey, rest []byte, chunk int64) (uint16, error) {
	d.mu.RLock()
	n, ok := d.index[styleText{key, string(rest)}]
	ok = ok && d.first[n] <= chunk
	d.mu.RUnlock()
	if ok {
		return n, nil
	}
	style, err := format.ParseTimestampStyle(byte(key), rest)
	if err != nil {
		return 0, err
	}
	style.Zeros = uint8(key >> 8)
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.index[styleText{key, string(rest)}]; ok {
		d.first[n] = min(d.first[n], chunk)
		return n, nil
	}
	if len(d.styles) == format.MaxStyles {
		return 0, ErrStyles
	}
	if d.index == nil {
		d.index = map[styleText]uint16{}
	}
	n = uint16(len(d.styles))
	text := styleText{key, string(rest)}
	d.index[text] = n
	d.styles, d.texts, d.first = append(d.styles, style), append(d.texts, text), append(d.first, chunk)
	return n, nil
}

// isUnclear reports whether earlier rows of other builds can matter to isCut for
// style n: no earlier row of this build has it, and longer styles begin with it.
func (d *styleDictionary) isUnclear(n uint16, chunk int64) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	text := d.texts[n]
	return d.first[n] == chunk && slices.ContainsFunc([]string{"Z", "0", "00", " A", "A"}, func(more string) bool {
		_, err := format.ParseTimestampStyle(byte(text.key), []byte(text.rest+more))
		return err == nil
	})
}

// isCut reports whether style n of the only row of a chunk seems to be the start
// of another one, because the row was cut: no earlier row has it, but earlier
// rows have a style that begins with it, or a known zone does.
func (d *styleDictionary) isCut(n uint16, chunk int64) (short, whole string, ok bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.first[n] < chunk {
		return "", "", false
	}
	text := d.texts[n]
	short = strconv.Quote(text.rest)
	if text.rest == "" {
		short = "the seconds"
	}
	for i, t := range d.texts {
		if d.first[i] < chunk && byte(t.key) == byte(text.key) && len(t.rest) > len(text.rest) && strings.HasPrefix(t.rest, text.rest) &&
			(!ok || t.rest < whole) {
			whole, ok = t.rest, true
		}
	}
	if ok {
		return short, strconv.Quote(whole) + " as in other rows", true
	}
	if abbr := d.styles[n].Abbr; d.styles[n].Layout == format.LayoutOffsetAbbr && !slices.Contains(zones, abbr) {
		if i := slices.IndexFunc(zones, func(z string) bool { return strings.HasPrefix(z, abbr) }); i >= 0 {
			return short, "a zone such as " + zones[i], true
		}
	}
	return "", "", false
}

// zones lists the abbreviations of the time zone database that are in use.
var zones = strings.Fields(`ACDT ACST ADT AEDT AEST AKDT AKST AST AWST BST CAT CDT CEST CET CST
	ChST EAT EDT EEST EET EST GMT HDT HKT HST IDT IST JST KST MDT MSK MST NDT NST NZDT NZST
	PDT PKT PST SAST SST UTC WAT WEST WET WIB WIT WITA`)

// sortStyles returns the dictionary for the file and the new number of each style.
// renumber is nil if no number changes.
func sortStyles(styles []format.TimestampStyle) (dictionary []format.TimestampStyle, renumber []uint16) {
	type entry struct {
		bytes []byte
		old   int
	}
	entries := make([]entry, len(styles))
	for i, style := range styles {
		entries[i] = entry{style.AppendBinary(nil), i}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(bytes.Compare(a.bytes, b.bytes), cmp.Compare(a.old, b.old))
	})
	renumber = make([]uint16, len(entries))
	identity := true
	for i, e := range entries {
		dictionary = append(dictionary, styles[e.old])
		renumber[e.old] = uint16(i)
		identity = identity && e.old == i
	}
	if identity {
		renumber = nil
	}
	return dictionary, renumber
}

// A styleUnion unites the dictionaries of runs. add is safe for concurrent use.
type styleUnion struct {
	mu     sync.Mutex
	number map[format.TimestampStyle]uint16
	styles []format.TimestampStyle
	final  []uint16 // the number of each style in the sorted dictionary; nil if none changes
}

// add adds the styles of a run and returns their numbers in the union.
func (u *styleUnion) add(styles []format.TimestampStyle) ([]uint16, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.number == nil {
		u.number = map[format.TimestampStyle]uint16{}
	}
	numbers := make([]uint16, len(styles))
	for i, style := range styles {
		n, ok := u.number[style]
		if !ok {
			if len(u.styles) == format.MaxStyles {
				return nil, ErrStyles
			}
			n = uint16(len(u.styles))
			u.number[style] = n
			u.styles = append(u.styles, style)
		}
		numbers[i] = n
	}
	return numbers, nil
}

// sort sorts the union after all runs are added.
func (u *styleUnion) sort() { u.styles, u.final = sortStyles(u.styles) }

// renumber replaces the results of add by the numbers in the sorted dictionary, or by
// nil if these are the numbers in the dictionary of the run.
func (u *styleUnion) renumber(numbers *[]uint16) {
	same := true
	for i, n := range *numbers {
		if u.final != nil {
			n = u.final[n]
		}
		(*numbers)[i] = n
		same = same && int(n) == i
	}
	if same {
		*numbers = nil
	}
}

// A styleCache remembers the last styles of one parser. Most files have few.
type styleCache struct {
	dictionary *styleDictionary
	entries    [8]struct {
		styleText
		number uint16
	}
	oldest int
	chunk  int64 // that is parsed: its order
}

// begin begins a chunk. After a later one, the dictionary must learn of each style
// again that this chunk has it.
func (c *styleCache) begin(chunk int64) {
	if chunk < c.chunk {
		*c = styleCache{dictionary: c.dictionary}
	}
	c.chunk = chunk
}

// cut returns the number of the style at the start of text, and the text after
// the following line end. ok is false if there is no line end or no valid style.
func (c *styleCache) cut(key styleKey, text []byte) (number uint16, rest []byte, ok bool) {
	for i := range c.entries {
		e := &c.entries[i]
		if e.key != key || len(text) <= len(e.rest) || string(text[:len(e.rest)]) != e.rest {
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
	number, err := c.number(key, bytes.TrimSuffix(line, []byte{'\r'}))
	return number, rest, err == nil
}

func (c *styleCache) number(key styleKey, rest []byte) (uint16, error) {
	for i := range c.entries {
		if e := &c.entries[i]; e.key == key && e.rest == string(rest) {
			return e.number, nil
		}
	}
	n, err := c.dictionary.number(key, rest, c.chunk)
	if err != nil {
		return 0, err
	}
	e := &c.entries[c.oldest]
	c.oldest = (c.oldest + 1) % len(c.entries)
	e.styleText, e.number = styleText{key, string(rest)}, n
	return n, nil
}

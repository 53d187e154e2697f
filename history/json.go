package history

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/escape"
)

// A View holds the options for writing results as JSON.
type View struct {
	JSON    format.JSONOptions
	Details bool      // names of files, and texts of rows
	Now     time.Time // earlier expiries have passed
}

// generationsJSON is the JSON form of the results of Generations.
type generationsJSON struct {
	Generations []generationJSON `json:"generations"` // newest first
	Omitted     int              `json:"omitted,omitempty"`
}

type generationJSON struct {
	Generation string       `json:"generation"`
	Created    time.Time    `json:"created"`
	Records    *int64       `json:"records"` // null: unknown
	Bytes      int64        `json:"bytes"`
	Shards     int          `json:"shards"`
	ShardBy    string       `json:"shard_by,omitempty"`
	State      State        `json:"state"`
	Pinned     bool         `json:"pinned"`
	Error      string       `json:"error,omitempty"`
	Summary    *summaryJSON `json:"summary,omitempty"`
}

// summaryJSON is a summary without its version and generation.
type summaryJSON struct {
	Version    *int    `json:"version,omitempty"`
	Generation *string `json:"generation,omitempty"`
	Program    string  `json:"program,omitempty"`
	generation.Summary
}

// Generations returns the JSON form of the results of Directory.Generations.
func (v View) Generations(list []Generation, omitted int) []byte {
	all := generationsJSON{Generations: []generationJSON{}, Omitted: omitted}
	for _, g := range list {
		x := generationJSON{Generation: g.ID.String(), Created: g.ID.Time(), Bytes: g.Bytes, Shards: g.Shards, State: g.State, Pinned: g.Pinned, Error: v.reason(g.Err)}
		if g.Records >= 0 {
			x.Records = &g.Records
		}
		if g.Rule != format.ShardNone {
			x.ShardBy = g.Rule.String()
		}
		if s := g.Summary; s != nil {
			x.Summary = &summaryJSON{Program: s.Program, Summary: *s}
			if !v.Details {
				x.Summary.Program, x.Summary.Inputs, x.Summary.Bad = "", nil, nil
			}
		}
		all.Generations = append(all.Generations, x)
	}
	return encode(all)
}

// reason returns the reason of an error; nil has none.
func (v View) reason(err error) string {
	switch {
	case err == nil:
		return ""
	case v.Details:
		return err.Error()
	}
	return generation.PublicReason(err)
}

// lookupJSON is the JSON form of the results of Lookup.
type lookupJSON struct {
	ID      string      `json:"id"`
	History []entryJSON `json:"history"` // newest first
	Omitted int         `json:"omitted,omitempty"`
}

type entryJSON struct {
	Generation string `json:"generation"`
	Live       bool   `json:"live"`
	Pinned     bool   `json:"pinned"`
	Found      bool   `json:"found"`
	fieldsJSON
	Expired *bool  `json:"expired,omitempty"` // absent: the row wrote no offset from UTC
	Error   string `json:"error,omitempty"`
}

// fieldsJSON has the fields of a promotion without its id, as servers answer them.
type fieldsJSON struct {
	Price          json.RawMessage `json:"price,omitempty"`
	ExpirationDate string          `json:"expiration_date,omitempty"`
}

// fields returns the fields of a record.
func (v View) fields(r *format.Record, styles []format.TimestampStyle) (f fieldsJSON) {
	text := v.JSON.AppendFields([]byte("{"), r, styles)
	if err := json.Unmarshal(append(text, '}'), &f); err != nil {
		panic("BUG: " + err.Error())
	}
	return f
}

// Lookup returns the JSON form of the results of Directory.Lookup.
func (v View) Lookup(key format.Key, entries []Entry, omitted int) []byte {
	all := lookupJSON{ID: IDText(key, entries), History: []entryJSON{}, Omitted: omitted}
	for i := range entries {
		e := &entries[i]
		x := entryJSON{Generation: e.ID.String(), Live: e.Live, Pinned: e.Pinned, Found: e.Found, Error: v.reason(e.Err)}
		if e.Found {
			x.fieldsJSON = v.fields(&e.Record, e.Styles)
			if expired, known := e.Expired(v.Now); known {
				x.Expired = &expired
			}
		}
		all.History = append(all.History, x)
	}
	return encode(all)
}

// Expired reports whether the promotion of e has expired. known is false if the row
// wrote no offset from UTC.
func (e *Entry) Expired(now time.Time) (expired, known bool) {
	at, known := e.Record.Expires(e.Styles)
	return known && !now.Before(at), known
}

// IDText returns the canonical text of a key, in the case of the live record, or else
// of the newest one.
func IDText(key format.Key, entries []Entry) string {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Found && e.Live })
	if i < 0 {
		i = slices.IndexFunc(entries, func(e Entry) bool { return e.Found })
	}
	return string(key.AppendText(nil, i >= 0 && entries[i].Record.Upper()))
}

// changeJSON is the JSON form of a Change.
type changeJSON struct {
	Kind Kind        `json:"kind"`
	ID   string      `json:"id"`
	From *fieldsJSON `json:"from,omitempty"`
	To   *fieldsJSON `json:"to,omitempty"`
}

// Change returns the JSON form of c.
func (v View) Change(c Change) []byte {
	x := changeJSON{Kind: c.Kind}
	for _, side := range []struct {
		from *Side
		to   **fieldsJSON
	}{{c.From, &x.From}, {c.To, &x.To}} {
		if s := side.from; s != nil {
			f := v.fields(s.Record, s.Styles)
			*side.to = &f
			x.ID = string(s.Record.Key().AppendText(nil, s.Record.Upper()))
		}
	}
	return bytes.TrimSuffix(encode(x), []byte("\n"))
}

// Counts returns the JSON form of the counts of a comparison.
func (v View) Counts(c diff.Counts) []byte { return bytes.TrimSuffix(encode(c), []byte("\n")) }

// encode returns the JSON form of v, with a line end. Names of files and rows are
// untrusted, so it has no character that controls a terminal, nor < or &.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(escape.JSON(text), '\n')
}

package page

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/web"
)

// A Query holds the parameters of a request for the page.
type Query struct {
	ID       string // to look up; empty: none
	From, To string // generations to compare; empty: none
}

// compareTimeout bounds a comparison on the page, which shows no progress.
const compareTimeout = 30 * time.Second

var errSlowComparison = fmt.Errorf("the comparison takes longer than %s: use promobuild diff", compareTimeout)

// Respond renders the page for q. v has the Program, the Status, and what the program
// adds; Respond fills the rest. With details, the page names files and persons, and has
// texts of rows.
//
// All that the page shows of the generations comes from the answers of h to the
// requests for JSON. So one place decides what a client may see, and the page has
// the limits of those requests. A busy program answers with a page that costs
// nothing.
func Respond(ctx context.Context, h *web.History, v View, q Query, details bool) Answer {
	list := h.Generations(ctx, details)
	if list.Busy {
		return Busy(list.Code, list.RetryAfter)
	}
	if v.Now = time.Now(); !details {
		v.Status = v.Status.Public()
	}
	code, retryAfter := list.Code, list.RetryAfter
	if code == http.StatusOK {
		v.addGenerations(list.Body)
	} else {
		v.Error = errorOf(list.Body)
	}
	note := func(a web.Answer) {
		if a.RetryAfter != "" { // other errors are those of the query, not of the page
			code, retryAfter = a.Code, a.RetryAfter
		}
	}
	if v.Query = q.ID; q.ID != "" {
		a := h.Promotion(ctx, []byte(strings.TrimSpace(q.ID)), details)
		note(a)
		v.addLookup(a)
	}
	if v.From, v.To = q.From, q.To; q.From != "" || q.To != "" {
		note(v.compare(ctx, h, details))
	} else {
		v.chooseNewest()
	}
	var b bytes.Buffer
	if err := Render(&b, &v); err != nil {
		panic("BUG: " + err.Error())
	}
	return htmlAnswer(code, retryAfter, b.Bytes())
}

// chooseNewest chooses the two newest servable generations for a comparison.
func (v *View) chooseNewest() {
	for _, g := range v.Generations {
		switch {
		case g.Error != "":
		case v.To == "":
			v.To = g.Generation
		default:
			v.From = g.Generation
			return
		}
	}
}

// busy is the page of a program that answers too many requests.
var busy = mustRender("busy")

func mustRender(name string) []byte {
	var b bytes.Buffer
	if err := index.ExecuteTemplate(&b, name, nil); err != nil {
		panic("BUG: " + err.Error())
	}
	return b.Bytes()
}

// decode decodes the body of an answer of web.History.
func decode(text []byte, v any) {
	if err := json.Unmarshal(text, v); err != nil {
		panic("BUG: " + err.Error())
	}
}

// errorOf returns the error of an answer.
func errorOf(text []byte) string {
	var body struct{ Error string }
	decode(text, &body)
	return body.Error
}

// addGenerations fills v with the body of GET /generations.
func (v *View) addGenerations(text []byte) {
	var body struct {
		Generations []struct {
			Generation string
			Created    time.Time
			Records    *uint64
			Bytes      int64
			State      string
			Pinned     bool
			Error      string
			Summary    *generation.Summary
		}
		Omitted int
	}
	decode(text, &body)
	v.Omitted = body.Omitted
	for _, g := range body.Generations {
		x := Generation{Generation: g.Generation, Live: g.State == "live", Created: g.Created, Error: g.Error, Records: g.Records, Bytes: g.Bytes}
		if g.State != "retained" {
			x.States = append(x.States, g.State)
		}
		if g.Pinned {
			x.States = append(x.States, "pinned")
		}
		if s := g.Summary; s != nil {
			x.Build, x.BadRows = sentence(s), badRowsOf(s)
		}
		v.Generations = append(v.Generations, x)
	}
}

// sentence describes a build in words.
func sentence(s *generation.Summary) string {
	parts := []string{string(s.Source)}
	if s.Source != generation.SourceUpload && len(s.Inputs) > 0 {
		parts[0] += " " + s.Inputs[0].Name
		if s.NumInputs > 1 {
			parts[0] += fmt.Sprintf(" and %s more", number(uint64(s.NumInputs-1)))
		}
	}
	parts = append(parts, english.Count(s.Rows, "row"))
	if s.BadRows > 0 {
		parts = append(parts, number(uint64(s.BadRows))+" bad")
	}
	if s.Duplicates > 0 {
		parts = append(parts, english.Count(s.Duplicates, "duplicate"))
	}
	parts = append(parts, Seconds(s.Seconds))
	if c := s.Comparison; c != nil {
		parts = append(parts, fmt.Sprintf("%s added, %s removed, %s changed", number(uint64(c.Added)), number(uint64(c.Removed)), number(uint64(c.Changed))))
	}
	return strings.Join(parts, ", ")
}

// Seconds formats the duration of a build.
func Seconds(s float64) string {
	if s < 0.1 {
		return "under 0.1 s"
	}
	return fmt.Sprintf("%.1f s", s)
}

// badRowsOf returns the bad rows of s; nil if s lists none.
func badRowsOf(s *generation.Summary) *BadRows {
	var rows []BadRow
	for _, r := range s.Bad {
		rows = append(rows, BadRow{r.File, r.Line, int64(r.Column), r.Reason, r.Row})
	}
	return NewBadRows(rows, s.BadRows)
}

// NewBadRows returns the first rows of count bad ones; nil if there are no rows.
func NewBadRows(rows []BadRow, count int64) *BadRows {
	if len(rows) == 0 {
		return nil
	}
	b := &BadRows{Title: english.Count(count, "bad row"), Rows: rows}
	if n := len(rows); int64(n) < count {
		b.Title = fmt.Sprintf("the first %d of %s", n, b.Title)
	}
	b.Inputs = slices.ContainsFunc(rows, func(r BadRow) bool { return r.Input != rows[0].Input })
	return b
}

// A promotion has the fields of a promotion.
type promotion struct {
	Price          json.Number
	ExpirationDate string `json:"expiration_date"`
}

// addLookup fills v with an answer to GET /promotions/<id>/history.
func (v *View) addLookup(a web.Answer) {
	v.Lookup = &Lookup{ID: v.Query}
	if a.Code != http.StatusOK {
		v.Lookup.Error = errorOf(a.Body)
		return
	}
	var body struct {
		ID      string
		History []struct {
			Generation          string
			Live, Pinned, Found bool
			promotion
			Expired bool
			Error   string
		}
	}
	decode(a.Body, &body)
	v.Lookup.ID = body.ID
	var newer *Entry // the next newer one that has a price
	var newerPrice json.Number
	v.Lookup.Entries = make([]Entry, len(body.History))
	for i, h := range body.History {
		e := &v.Lookup.Entries[i]
		*e = Entry{Generation: h.Generation, Live: h.Live, Error: h.Error, Found: h.Found, Price: h.Price.String(), ExpirationDate: h.ExpirationDate, Expired: h.Expired}
		if h.Live {
			e.States = append(e.States, "live")
			v.Lookup.Absent = h.Error == "" && !h.Found
		}
		if h.Pinned {
			e.States = append(e.States, "pinned")
		}
		if !h.Found {
			continue
		}
		if h.Live {
			v.Lookup.Now = fmt.Sprintf(`{"id":%q,"price":%s,"expiration_date":%q}`, body.ID, h.Price, h.ExpirationDate)
		}
		if newer != nil {
			newer.Change, newer.ChangeClass = change(h.Price, newerPrice)
		}
		newer, newerPrice = e, h.Price
	}
}

// change describes a change of a price in per cent. It returns an empty text if there
// is none, or if the old price is 0.
func change(from, to json.Number) (text, class string) {
	a, errA := from.Float64()
	b, errB := to.Float64()
	if errA != nil || errB != nil || a == 0 || a == b {
		return "", ""
	}
	percent := 100 * (b - a) / math.Abs(a)
	sign, class := "+", "up"
	if percent < 0 {
		sign, class = "−", "down"
	}
	switch percent = math.Abs(percent); {
	case percent < 0.05:
		return sign + "<0.1 %", class
	case percent < 1000:
		return fmt.Sprintf("%s%.1f %%", sign, percent), class
	case percent < 1e15:
		return sign + number(uint64(percent)) + " %", class
	}
	return fmt.Sprintf("%s%.2g %%", sign, percent), class
}

// compare fills v with the comparison of its generations From and To.
func (v *View) compare(ctx context.Context, h *web.History, details bool) web.Answer {
	x := &Comparison{From: v.From, To: v.To}
	v.Comparison = x
	if x.From == "" || x.To == "" {
		x.Error = "Choose two generations, in the columns From and To."
		return web.Answer{}
	}
	a := h.Diff(x.From, x.To, "", details)
	if a.Diff == nil {
		x.Error = errorOf(a.Body)
		return a
	}
	ctx, cancel := context.WithTimeoutCause(ctx, compareTimeout, errSlowComparison)
	defer cancel()
	var b bytes.Buffer
	a.Diff.Run(ctx, &b, func() error { return nil })
	var body struct {
		Changes []struct {
			Kind, ID string
			From, To *promotion
		}
		Counts struct{ Added, Removed, Changed, Unchanged uint64 }
		Error  string
	}
	decode(b.Bytes(), &body)
	x.Error = body.Error
	x.Added, x.Removed, x.Changed, x.Same = body.Counts.Added, body.Counts.Removed, body.Counts.Changed, body.Counts.Unchanged
	for _, c := range body.Changes {
		row := Change{Kind: c.Kind, ID: c.ID}
		if c.From != nil {
			row.FromPrice, row.FromDate = c.From.Price.String(), c.From.ExpirationDate
		}
		if c.To != nil {
			row.ToPrice, row.ToDate = c.To.Price.String(), c.To.ExpirationDate
		}
		x.Changes = append(x.Changes, row)
	}
	return a
}

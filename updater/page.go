package updater

import (
	"fmt"
	"net/http"
	"strings"

	"promostore/internal/english"
	"promostore/page"
)

// index serves the page: the generations, lookups and uploads and, if the client has
// the required credentials, the builds and the inbox. `?id=ID` looks a promotion up,
// and `?from=ID&to=ID` compares two generations.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	details, ok := s.details(w, r)
	if !ok {
		return
	}
	v := page.View{Program: "promobuild updater", Status: s.publicStatus().Status, Updater: &page.Updater{Token: s.auth.tokens != nil, Private: details}}
	if details {
		s.privateStatus().fill(v.Updater)
	}
	a := page.Respond(r.Context(), s.history, v, page.QueryOf(r), details)
	a.Write(w, answerTimeout)
}

// fill sets the parts of u that st has.
func (st *privateStatus) fill(u *page.Updater) {
	if p := st.Building; p != nil {
		u.Building = &page.Building{Title: fmt.Sprintf("Building %s %s", p.Source, p.Name), Text: fmt.Sprintf("%s: %s", p.Phase, english.Count(p.Rows, "row")), Percent: p.Percent}
	}
	if in := st.Inbox; in != nil {
		u.Inbox = &page.Inbox{Waiting: in.Waiting, Ignored: in.Ignored, Done: in.Done, Failed: in.Failed, Stuck: in.Stuck, Names: in.Names}
	}
	for _, r := range st.Builds {
		b := page.Build{Until: r.Until, Source: r.Source, Name: r.Name, Result: strings.ReplaceAll(r.Outcome, "_", " "), Class: "bad", Text: r.Error, BadRows: r.badRows()}
		if r.Outcome == outcomePublished {
			b.Class, b.Text = "good", fmt.Sprintf("generation %s, %s, %s", r.Summary.Generation, english.Count(r.Summary.Records, "record"), page.Seconds(r.Summary.Seconds))
			if r.Pinned != "" {
				b.Text += "; servers keep the pinned generation " + r.Pinned
			}
			if r.Hook != nil && r.Hook.Error != "" {
				b.Class, b.Text = "warn", b.Text+"; the command after publishing failed: "+r.Hook.Error
			}
		}
		u.Builds = append(u.Builds, b)
	}
}

// badRows returns the first bad rows of a data set that was not published. The summary
// of a generation has those of a published one.
func (r *result) badRows() *page.BadRows {
	if r.bad == nil {
		return nil
	}
	var rows []page.BadRow
	for _, b := range r.bad.Rows {
		rows = append(rows, page.BadRow{Input: b.Input, Line: b.Line, Column: int64(b.Column), Reason: b.Reason, Text: b.Text})
	}
	return page.NewBadRows(rows, r.bad.Count)
}

// asset serves a file that the page loads. Its path changes with its content, and
// caches keep it.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := page.FindAsset(r.URL.Path)
	if !ok {
		notFound(w, r)
		return
	}
	a.Write(w, answerTimeout)
}

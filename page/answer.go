package page

import (
	"net/http"
	"strconv"
	"time"
)

// An Answer is an answer to a request for the page, or for one of its assets. It is
// sent with Headers.
type Answer struct {
	Code         int
	ContentType  string
	CacheControl string
	RetryAfter   string // seconds; empty: none
	Body         []byte
	Shared       bool // Body is that of all such answers, and takes no memory
}

// htmlAnswer returns an answer with a page that no cache keeps.
func htmlAnswer(code int, retryAfter string, body []byte) Answer {
	return Answer{Code: code, ContentType: "text/html; charset=utf-8", CacheControl: "no-store", RetryAfter: retryAfter, Body: body}
}

// Busy returns the answer of a program that has no room for the page. It takes neither
// time nor memory.
func Busy(code int, retryAfter string) Answer {
	a := htmlAnswer(code, retryAfter, busy)
	a.Shared = true
	return a
}

// Header calls set with the headers of a.
func (a *Answer) Header(set func(name, value string)) {
	for _, header := range Headers {
		set(header[0], header[1])
	}
	set("Content-Type", a.ContentType)
	set("Cache-Control", a.CacheControl)
	if a.RetryAfter != "" {
		set("Retry-After", a.RetryAfter)
	}
}

// Write sends a. A client that does not read for timeout is cut off.
func (a *Answer) Write(w http.ResponseWriter, timeout time.Duration) {
	// A connection without deadlines gets its answer nevertheless.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout))
	a.Header(w.Header().Set)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body) // it fails only if the client has gone
}

// QueryOf returns the query of r.
func QueryOf(r *http.Request) Query {
	q := r.URL.Query()
	return Query{q.Get("id"), q.Get("from"), q.Get("to")}
}

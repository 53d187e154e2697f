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
}

func htmlAnswer(code int, retryAfter string, body []byte) Answer {
	return Answer{code, "text/html; charset=utf-8", "no-store", retryAfter, body}
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

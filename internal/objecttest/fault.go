package objecttest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
)

// Error answers with an error of S3.
func Error(status int, code, message string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}
	}
}

// SlowDown answers that there are too many requests.
func SlowDown() Fault {
	return Error(http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate.")
}

// Cut ends the connection after n bytes of the body.
func Cut(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{w, n}, r)
	}
}

// Stall sends n bytes of the body and then nothing until the client goes away.
func Stall(n int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		defer func() {
			if recover() == http.ErrAbortHandler { //nolint:errorlint // the value of the panic
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}
		}()
		Cut(n)(w, r, next)
	}
}

// Lost handles the request and ends the connection without an answer.
func Lost() Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

// A Matcher selects requests.
type Matcher func(*http.Request) bool

// Gets selects requests for the bytes of objects.
func Gets(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Count(strings.Trim(r.URL.Path, "/"), "/") > 0
}

// Lists selects requests for pages of listings.
func Lists(r *http.Request) bool { return r.URL.Query().Has("list-type") }

// First applies f to the first n requests that match.
func First(n int, match Matcher, f Fault) Fault {
	var seen atomic.Int64
	return Where(func(r *http.Request) bool { return match(r) && seen.Add(1) <= int64(n) }, f)
}

// Every applies f to each n-th request that matches.
func Every(n int, match Matcher, f Fault) Fault {
	var seen atomic.Int64
	return Where(func(r *http.Request) bool { return match(r) && seen.Add(1)%int64(n) == 0 }, f)
}

// Where applies f to all requests that match.
func Where(match Matcher, f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if match(r) {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// A cutter passes n bytes of a body on, then ends the connection.
type cutter struct {
	http.ResponseWriter
	n int
}

func (c *cutter) Write(p []byte) (int, error) {
	if len(p) > c.n {
		_, _ = c.ResponseWriter.Write(p[:c.n])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	c.n -= len(p)
	return c.ResponseWriter.Write(p)
}

func (c *cutter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// A discard takes an answer that is not sent.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) WriteHeader(int)             {}
func (d discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }

// Pages makes the pages of listings n keys long. Servers that check signatures
// refuse the changed requests.
func Pages(n int) Fault {
	return Where(Lists, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		q := r.URL.Query()
		q.Set("max-keys", fmt.Sprint(n))
		r.URL.RawQuery = q.Encode()
		next.ServeHTTP(w, r)
	})
}

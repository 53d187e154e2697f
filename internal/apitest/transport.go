package apitest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
)

// T is the part of testing.TB that a Transport needs.
type T interface {
	Errorf(format string, args ...any)
}

// Transport returns a RoundTripper that reports to t which answers of next
// contradict the document.
func (c *Checker) Transport(t T, next http.RoundTripper) http.RoundTripper {
	return transport{c, t, next}
}

type transport struct {
	checker *Checker
	t       T
	next    http.RoundTripper
}

// RoundTrip sends a request. The body of the answer is checked when the client has
// read it.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(req)
	if err == nil {
		t.checker.Observe(t.t, req.Method, req.URL.EscapedPath(), res)
	}
	return res, err
}

// CloseIdleConnections closes the idle connections of next.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// Observe reports to t if res contradicts the document, after its body was read or
// closed. An empty method and path mean an unknown request.
func (c *Checker) Observe(t T, method, path string, res *http.Response) {
	answer := Answer{Method: method, Path: path, Code: res.StatusCode, Header: res.Header.Clone()}
	res.Body = &body{ReadCloser: res.Body, check: func(text []byte, isWhole bool) {
		answer.Body, answer.Partial = text, !isWhole
		if err := c.Check(answer); err != nil {
			t.Errorf("%s %s is answered %d %.300s, which /openapi.json does not describe: %v", method, path, res.StatusCode, text, err)
		}
	}}
}

// maxBody is the length up to which bodies are checked.
const maxBody = 1 << 20

// A body collects the bytes that the client reads, and calls check once.
type body struct {
	io.ReadCloser
	text  bytes.Buffer
	long  bool
	once  sync.Once
	check func(text []byte, isWhole bool)
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.long = b.long || b.text.Len()+n > maxBody; !b.long {
		b.text.Write(p[:n])
	}
	if err == io.EOF {
		b.end(!b.long)
	}
	return n, err
}

func (b *body) Close() error {
	b.end(false)
	return b.ReadCloser.Close()
}

func (b *body) end(isWhole bool) {
	b.once.Do(func() { b.check(b.text.Bytes(), isWhole) })
}

package httpd_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"promostore/httpd"
)

func TestServerPipelinesRequests(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	c, r := f.dial(t)
	for range 3 {
		fmt.Fprint(c, request("/promotions/"+exampleID))
		receive(t, r).want(t, 200, exampleJSON)
	}
	var batch strings.Builder
	for range 50 {
		batch.WriteString(request("/promotions/"+exampleID) + request("/promotions/1") +
			"POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\"ids\":[] }")
	}
	go fmt.Fprint(c, batch.String())
	for range 50 {
		receive(t, r).want(t, 200, exampleJSON)
		receive(t, r).want(t, 404, unknownJSON)
		receive(t, r).want(t, 200, `{"promotions":[],"not_found":[]}`)
	}
}

func TestServerRejectsMalformedRequests(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	for _, c := range []struct {
		request string
		code    int
		body    string
	}{
		{"\x00\x01\r\n\r\n", 400, `{"error":"malformed request"}`},
		{"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, `{"error":"malformed request"}`},
		{"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, `{"error":"the request line and headers are too long"}`},
		{"POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n ", 413, `{"error":"the body is too long"}`},
	} {
		conn, r := f.dial(t)
		fmt.Fprint(conn, c.request)
		receive(t, r).want(t, c.code, c.body)
		if _, err := r.ReadByte(); err == nil {
			t.Errorf("%.20q: the connection remains open", c.request)
		}
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestHandlerPanicAnswers500 uses a server without a Store, so that lookups
// panic.
func TestHandlerPanicAnswers500(t *testing.T) {
	var log logBuffer
	f := &fixture{Server: httpd.New(httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})}
	f.listen(t)
	for range 2 {
		f.get(t, "/promotions/"+exampleID).want(t, 500, `{"error":"internal error"}`)
	}
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)
	for _, want := range []string{"nil pointer", exampleID, "promotions.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not contain %q:\n%s", want, &log)
		}
	}
}

package httpd_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"promostore/httpd"
	"promostore/web"
)

const (
	postLookup = "POST /promotions/lookup HTTP/1.1\r\nHost: x\r\n"
	noIDs      = `{"ids":[]}` // 10 bytes; the size of a chunk of it is a
	chunked    = "Transfer-Encoding: chunked\r\n"
)

// codesOf sends text on a new connection and returns the status codes of all
// answers.
func (f *fixture) codesOf(t *testing.T, sent string) (codes []int) {
	t.Helper()
	c, r := f.dial(t)
	_, err := io.WriteString(c, sent)
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	for {
		if _, err := r.Peek(1); err != nil {
			if err != io.EOF && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%.80q: %v", sent, err)
			}
			return codes
		}
		codes = append(codes, receive(t, r).code)
	}
}

// TestAmbiguousRequestsAreRejected sends requests whose end is ambiguous,
// followed by another request, which must not be answered.
func TestAmbiguousRequestsAreRejected(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	get := "GET /readyz HTTP/1.1\r\nHost: x\r\n"
	body := noIDs + "\r\n0\r\n\r\n"
	for name, request := range map[string]string{
		"lengths that differ":            postLookup + "Content-Length: 10\r\nContent-Length: 20\r\n\r\n" + noIDs,
		"lengths that agree":             postLookup + "Content-Length: 10\r\nContent-Length: 10\r\n\r\n" + noIDs,
		"list of lengths":                postLookup + "Content-Length: 10, 10\r\n\r\n" + noIDs,
		"length with plus":               postLookup + "Content-Length: +10\r\n\r\n" + noIDs,
		"negative length":                postLookup + "Content-Length: -10\r\n\r\n" + noIDs,
		"hexadecimal length":             postLookup + "Content-Length: 0xa\r\n\r\n" + noIDs,
		"empty length":                   postLookup + "Content-Length:\r\n\r\n",
		"length beyond 64 bits":          postLookup + "Content-Length: 18446744073709551626\r\n\r\n" + noIDs,
		"space in length":                postLookup + "Content-Length: 1 0\r\n\r\n" + noIDs,
		"space before colon":             postLookup + "Content-Length : 10\r\n\r\n" + noIDs,
		"unknown coding":                 postLookup + "Transfer-Encoding: xchunked\r\n\r\na\r\n" + body,
		"chunked not last":               postLookup + "Transfer-Encoding: chunked, identity\r\n\r\na\r\n" + body,
		"coding before chunked":          postLookup + "Transfer-Encoding: gzip, chunked\r\n\r\na\r\n" + body,
		"identity":                       postLookup + "Transfer-Encoding: identity\r\n\r\n",
		"identity in capitals":           get + "TRANSFER-ENCODING:IDENTITY\r\n\r\n",
		"identity on a line of its own":  get + "X: y\r\nTransfer-Encoding:\r\n identity\r\n\r\n",
		"identity and length":            postLookup + "Content-Length: 10\r\nTransfer-Encoding: identity\r\n\r\n" + noIDs,
		"two codings":                    postLookup + chunked + "Transfer-Encoding: identity\r\n\r\na\r\n" + body,
		"vertical tab before coding":     postLookup + "Transfer-Encoding: \vchunked\r\n\r\na\r\n" + body,
		"space after name of coding":     postLookup + "Transfer-Encoding : chunked\r\n\r\na\r\n" + body,
		"coding in HTTP/1.0":             strings.Replace(postLookup, "1.1", "1.0", 1) + "Connection: keep-alive\r\n" + chunked + "\r\na\r\n" + body,
		"hexadecimal prefix of a chunk":  postLookup + chunked + "\r\n0xa\r\n" + body,
		"negative chunk":                 postLookup + chunked + "\r\n-a\r\n" + body,
		"chunk with plus":                postLookup + chunked + "\r\n+a\r\n" + body,
		"chunk beyond 64 bits":           postLookup + chunked + "\r\n1000000000000000a\r\n" + body,
		"chunk without a size":           postLookup + chunked + "\r\n\r\n" + body,
		"chunk longer than its size":     postLookup + chunked + "\r\n9\r\n" + body,
		"chunk shorter than its size":    postLookup + chunked + "\r\nb\r\n" + body,
		"extension that ends with LF":    postLookup + chunked + "\r\na;x\n" + body,
		"chunk that ends with LF":        postLookup + chunked + "\r\na\n" + noIDs + "\n0\n\n",
		"trailer without colon":          postLookup + chunked + "\r\na\r\n" + noIDs + "\r\n0\r\nX y\r\n\r\n",
		"field without colon":            get + "X\r\n\r\n",
		"field without name":             get + ": y\r\n\r\n",
		"field with invalid name":        get + "X(: y\r\n\r\n",
		"first field after a space":      "GET /readyz HTTP/1.1\r\n Host: x\r\n\r\n",
		"zero byte in a field":           get + "X: a\x00b\r\n\r\n",
		"CR in a field":                  get + "X: a\rContent-Length: 10\r\n\r\n",
		"no host":                        "GET /readyz HTTP/1.1\r\n\r\n",
		"two hosts":                      get + "Host: y\r\n\r\n",
		"two spaces in the request line": "GET  /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
		"space in the path":              "GET /readyz /x HTTP/1.1\r\nHost: x\r\n\r\n",
		"zero byte in the path":          "GET /readyz\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"tabs in the request line":       "GET\t/readyz\tHTTP/1.1\r\nHost: x\r\n\r\n",
		"text after the version":         "GET /readyz HTTP/1.1 x\r\nHost: x\r\n\r\n",
		"no version":                     "GET /readyz\r\n\r\n",
		"invalid method":                 "GE(T /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
		"preface of HTTP/2":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		if got := f.codesOf(t, request+get+"\r\n"); !slices.Equal(got, []int{400}) {
			t.Errorf("%s: %v, want 400 and the end of the connection", name, got)
		}
	}
	// A coding overrides a length, and the connection ends after the answer (RFC
	// 9112, section 6.3).
	for name, fields := range map[string]string{"length first": "Content-Length: 3\r\n" + chunked, "coding first": chunked + "Content-Length: 3\r\n"} {
		if got := f.codesOf(t, postLookup+fields+"\r\na\r\n"+body+get+"\r\n"); !slices.Equal(got, []int{200}) {
			t.Errorf("%s: %v, want 200 and the end of the connection", name, got)
		}
	}
	// An unusual but unambiguous request is answered, and so is the next one.
	for name, request := range map[string]string{
		"GET with a body":        get + "Content-Length: 10\r\n\r\n" + noIDs,
		"extension":              postLookup + chunked + "\r\na;x=y\r\n" + body,
		"trailer":                postLookup + chunked + "\r\na\r\n" + noIDs + "\r\n0\r\nX: y\r\n\r\n",
		"coding in capitals":     postLookup + "TRANSFER-ENCODING: CHUNKED\r\n\r\na\r\n" + body,
		"coding in other fields": get + "T: y\r\nTransfer: identity\r\nX: y\r\n\tTransfer-Encoding: identity\r\n\r\n",
		"body that is a request": get + "Content-Length: 36\r\n\r\n" + "GET /healthz HTTP/1.1\r\nHost: xxxx\r\n\r\n"[:36],
	} {
		if got := f.codesOf(t, request+get+"\r\n"); !slices.Equal(got, []int{200, 200}) {
			t.Errorf("%s: %v, want 200 twice", name, got)
		}
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestIgnoredChunksEndConnection sends chunks, valid or not, that the server does
// not read. The answer tells that the connection ends.
func TestIgnoredChunksEndConnection(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	for _, method := range []string{"GET", "HEAD", "POST"} {
		for _, chunks := range []string{"a\r\n" + noIDs + "\r\n0\r\n\r\n", "z\r\n\r\n", "a\r\nlonger than ten\r\n0\r\n\r\n"} {
			c, r := f.dial(t)
			fmt.Fprint(c, method+" /healthz HTTP/1.1\r\nHost: x\r\n"+chunked+"\r\n"+chunks)
			answer, err := http.ReadResponse(r, &http.Request{Method: method})
			must(t, err)
			api.Observe(t, method, "/healthz", answer)
			if !answer.Close {
				t.Errorf("%s with %q: the answer does not announce the end of the connection", method, chunks)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("%s with %q: %v, want the end of the connection", method, chunks, err)
			}
		}
	}
}

// TestLineEndsOfLF sends headers with lines that end with LF alone. They are
// answered at once.
func TestLineEndsOfLF(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	for _, parts := range [][]string{
		{"GET /healthz HTTP/1.0\n\n"},
		{"GET /healthz HTTP/1.0\n"},
		{"GET /healthz HTTP/1.1\r\nHost: x\n\n"},
		{"GET /healthz HTTP/1.1\r\nHost: x\r\n\n"},
		{"GET /healthz HTTP/1.1", "\nHost: x\n\n"},
		{"GET /healthz HTTP/1.1\r", "\nHost: x\r\n", "\n"},
	} {
		plain, _ := f.dial(t)
		secure, _ := f.dialTLS(t)
		for _, c := range []net.Conn{plain, secure} {
			for _, part := range parts {
				_, err := io.WriteString(c, part)
				must(t, err)
			}
			receive(t, bufio.NewReader(c)).want(t, 400, `{"error":"a line does not end with CR LF"}`)
		}
	}
	for _, parts := range [][]string{
		{"GET /healthz HTTP/1.1\r", "\nHost: x\r\n\r", "\n"},
		{"\r\n", request("/healthz")},
	} {
		c, r := f.dial(t)
		for _, part := range parts {
			fmt.Fprint(c, part)
		}
		receive(t, r).want(t, 200, `{"status":"ok"}`)
	}
	a := f.do(t, "POST", "/promotions/lookup", "{\"ids\":\n\n[]}\n\n")
	a.want(t, 200, `{"promotions":[],"not_found":[]}`)
}

// TestHostilePaths requests paths that try to leave /promotions/, to inject a
// header or to exceed a limit.
func TestHostilePaths(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	for path, code := range map[string]int{
		"/promotions/../../../etc/passwd":                            404,
		"/promotions/%2e%2e/%2e%2e/etc/passwd":                       404,
		"/promotions/..%2f..%2fetc%2fpasswd":                         404,
		"/promotions/%2e%2e%5c%2e%2e%5cetc":                          404,
		"/promotions/..\\..\\etc":                                    404,
		"/promotions/%252e%252e/":                                    404,
		"/promotions/%00":                                            404,
		"/promotions/" + exampleID + "%00":                           404,
		"/promotions/" + exampleID + "%0d%0aX-Injected:%20y":         404,
		"/promotions/%":                                              404,
		"/promotions/%zz":                                            404,
		"/promotions/%c0%ae%c0%ae/":                                  404,
		"/promotions/\xff\xfe":                                       404,
		"/promotions/" + strings.Repeat("a", 8000):                   404,
		"/promotions/" + strings.Repeat("%61", 2600):                 404,
		"/" + strings.Repeat("../", 2000) + "etc/passwd":             404,
		"/" + strings.Repeat("/", 8000):                              404,
		"/promotions/" + exampleID + "?" + strings.Repeat("a", 7900): 200,
		"/promotions/" + strings.Repeat("a", 9000):                   431,
	} {
		c, r := f.dial(t)
		fmt.Fprint(c, request(path))
		a := receive(t, r)
		if a.code != code {
			t.Errorf("%.60q: %d %s, want %d", path, a.code, a.body, code)
		}
		if a.header.Get("X-Injected") != "" {
			t.Errorf("%.60q: %v", path, a.header)
		}
		c.Close()
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestSimilarHeaderIsAccepted sends headers whose names resemble
// Transfer-Encoding.
func TestSimilarHeaderIsAccepted(t *testing.T) {
	f := serveMemory(t, rows)
	for _, name := range []string{"Transfer-Encoding-Before", "Transfer-Encodings", "Transfer"} {
		f.get(t, "/promotions/"+exampleID, name, "identity").want(t, 200, exampleJSON)
	}
}

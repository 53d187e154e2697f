package httpd_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/httpd"
	"promostore/reader"
)

const (
	postLookup = "POST /promotions/lookup HTTP/1.1\r\nHost: x\r\n"
	noIDs      = `{"ids":[]}` // 10 bytes, a in hexadecimal
	chunked    = "Transfer-Encoding: chunked\r\n"
)

// codesOf sends what a client has to say and returns the codes of all answers,
// until the connection ends.
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

// TestSmuggling sends requests whose end is in doubt, and one more behind each:
// it must not be answered.
func TestSmuggling(t *testing.T) {
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
		"another before chunked":         postLookup + "Transfer-Encoding: gzip, chunked\r\n\r\na\r\n" + body,
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
		"chunk without length":           postLookup + chunked + "\r\n\r\n" + body,
		"chunk longer than it says":      postLookup + chunked + "\r\n9\r\n" + body,
		"chunk shorter than it says":     postLookup + chunked + "\r\nb\r\n" + body,
		"extension that ends with a LF":  postLookup + chunked + "\r\na;x\n" + body,
		"chunk that ends with a LF":      postLookup + chunked + "\r\na\n" + noIDs + "\n0\n\n",
		"trailer without colon":          postLookup + chunked + "\r\na\r\n" + noIDs + "\r\n0\r\nX y\r\n\r\n",
		"field without colon":            get + "X\r\n\r\n",
		"field without name":             get + ": y\r\n\r\n",
		"field with a bad name":          get + "X(: y\r\n\r\n",
		"first field after a space":      "GET /readyz HTTP/1.1\r\n Host: x\r\n\r\n",
		"zero byte in a field":           get + "X: a\x00b\r\n\r\n",
		"CR in a field":                  get + "X: a\rContent-Length: 10\r\n\r\n",
		"no host":                        "GET /readyz HTTP/1.1\r\n\r\n",
		"two hosts":                      get + "Host: y\r\n\r\n",
		"two spaces in the request line": "GET  /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
		"space in the path":              "GET /readyz /x HTTP/1.1\r\nHost: x\r\n\r\n",
		"zero byte in the path":          "GET /readyz\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"tabs in the request line":       "GET\t/readyz\tHTTP/1.1\r\nHost: x\r\n\r\n",
		"more behind the version":        "GET /readyz HTTP/1.1 x\r\nHost: x\r\n\r\n",
		"no version":                     "GET /readyz\r\n\r\n",
		"method that is none":            "GE(T /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
		"preface of HTTP/2":              "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		if got := f.codesOf(t, request+get+"\r\n"); !slices.Equal(got, []int{400}) {
			t.Errorf("%s: %v, want 400 and no more", name, got)
		}
	}
	// A length beside a coding is passed over, and the connection ends (RFC
	// 9112, section 6.3).
	for name, fields := range map[string]string{"length first": "Content-Length: 3\r\n" + chunked, "coding first": chunked + "Content-Length: 3\r\n"} {
		if got := f.codesOf(t, postLookup+fields+"\r\na\r\n"+body+get+"\r\n"); !slices.Equal(got, []int{200}) {
			t.Errorf("%s: %v, want 200 and no more", name, got)
		}
	}
	// What is unusual but clear is answered, and so is what comes behind it.
	for name, request := range map[string]string{
		"GET with a body":           get + "Content-Length: 10\r\n\r\n" + noIDs,
		"GET with chunks":           get + chunked + "\r\na\r\n" + body,
		"extension":                 postLookup + chunked + "\r\na;x=y\r\n" + body,
		"trailer":                   postLookup + chunked + "\r\na\r\n" + noIDs + "\r\n0\r\nX: y\r\n\r\n",
		"coding in capitals":        postLookup + "TRANSFER-ENCODING: CHUNKED\r\n\r\na\r\n" + body,
		"another field with coding": get + "T: y\r\nTransfer: identity\r\nX: y\r\n\tTransfer-Encoding: identity\r\n\r\n",
		"body that is a request":    get + "Content-Length: 36\r\n\r\n" + "GET /healthz HTTP/1.1\r\nHost: xxxx\r\n\r\n"[:36],
	} {
		if got := f.codesOf(t, request+get+"\r\n"); !slices.Equal(got, []int{200, 200}) {
			t.Errorf("%s: %v, want 200 twice", name, got)
		}
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestHostilePaths asks for what is not there in ways that try to be somewhere
// else. Nothing here is a file, so there is nothing to reach.
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

// A hostile client is let loose on its connection, and comes back when the
// server has had enough of it.
type hostile struct {
	attack func(net.Conn)
	code   int // of the answer that ends the connection; 0: there is none, as when a body does not come
}

// forEver writes b again and again, with pauses, until the connection ends.
func forEver(c net.Conn, b string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, b); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// TestUnderAttack has hostile clients of each kind while others ask for what
// is there: none of these fails, or waits for long.
func TestUnderAttack(t *testing.T) {
	const (
		clients  = 20
		pause    = 20 * time.Millisecond
		requests = 200
		patience = 5 * time.Second // of those who ask; the server's with the hostile is a tenth
	)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 10<<20)) // in 10 KB
	must(t, err)
	must(t, z.Close())
	send := func(text string) func(net.Conn) {
		return func(c net.Conn) { _, _ = io.WriteString(c, text) }
	}
	for name, h := range map[string]hostile{
		"says nothing":              {func(net.Conn) {}, 0},
		"slow request line":         {func(c net.Conn) { forEver(c, "G", pause) }, 408},
		"slow header":               {func(c net.Conn) { send("GET /readyz HTTP/1.1\r\n")(c); forEver(c, "X: y\r\n", pause) }, 408},
		"slow body":                 {func(c net.Conn) { send(postLookup + "Content-Length: 1000\r\n\r\n")(c); forEver(c, " ", pause) }, 0},
		"slow chunks":               {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); forEver(c, "1\r\n \r\n", pause) }, 0},
		"endless length of a chunk": {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); forEver(c, "0", 0) }, 400},
		"body shorter than it says": {send(postLookup + "Content-Length: 1000\r\n\r\n" + noIDs), 0},
		"body longer than it says": {func(c net.Conn) {
			send(postLookup + "Content-Length: 10\r\n\r\n" + noIDs)(c)
			forEver(c, "\x00\r\n\r\n", 0)
		}, 400},
		"endless request line": {func(c net.Conn) { send("GET /")(c); forEver(c, strings.Repeat("a", 1000), 0) }, 431},
		"endless field":        {func(c net.Conn) { send("GET / HTTP/1.1\r\nX: ")(c); forEver(c, strings.Repeat("a", 1000), 0) }, 431},
		"endless fields":       {func(c net.Conn) { send("GET / HTTP/1.1\r\n")(c); forEver(c, "X: y\r\n", 0) }, 431},
		"endless chunks": {func(c net.Conn) {
			send(postLookup + chunked + "\r\n")(c)
			forEver(c, "400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 0)
		}, 413},
		"chunk of terabytes": {func(c net.Conn) {
			send(postLookup + chunked + "\r\nfffffffffff\r\n")(c)
			forEver(c, strings.Repeat(" ", 1000), 0)
		}, 413},
		"body of terabytes": {func(c net.Conn) {
			send(postLookup + "Content-Length: 9999999999999\r\n\r\n")(c)
			forEver(c, strings.Repeat(" ", 1000), 0)
		}, 413},
		"gzip bomb": {send(fmt.Sprintf("%sConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", postLookup, bomb.Len(), &bomb)), 415},
		"too many ids": {func(c net.Conn) {
			body := `{"ids":[""` + strings.Repeat(`,""`, httpd.MaxLookupIDs) + `]}`
			send(fmt.Sprintf("%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", postLookup, len(body), body))(c)
		}, 413},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
			f.SetReadTimeout(patience / 10)
			publish(t, f.dir, genID(0), rows)
			f.poll(t)
			f.listen(t)
			alone := f.askUntil(t, nil, requests, patience)
			ended := make(chan struct{})
			var attackers sync.WaitGroup
			for range clients {
				attackers.Go(func() { f.attack(t, h) })
			}
			go func() {
				attackers.Wait()
				close(ended)
			}()
			t.Logf("p99 %v alone, %v under attack", alone, f.askUntil(t, ended, requests, patience))
			if n := f.answered(t, h.code); h.code != 0 && n != clients {
				t.Errorf("%d answers with %d, want %d", n, h.code, clients)
			}
		})
	}
}

// answered is how many answers the server has counted with this code.
func (f *fixture) answered(t *testing.T, code int) (n int) {
	t.Helper()
	for line := range strings.Lines(f.get(t, "/prometheus").body) {
		labels, value, _ := strings.Cut(line, "} ")
		if strings.HasPrefix(labels, "promo_http_requests_total{") && strings.HasSuffix(labels, fmt.Sprintf(`code="%d"`, code)) {
			k, err := strconv.Atoi(strings.TrimSpace(value))
			must(t, err)
			n += k
		}
	}
	return n
}

// attack is one hostile client.
func (f *fixture) attack(t *testing.T, h hostile) {
	c, err := net.Dial("tcp", f.ln.Addr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Error(err)
		return
	}
	var got []byte
	var readErr error
	read := make(chan struct{})
	go func() {
		defer close(read)
		got, readErr = io.ReadAll(c)
	}()
	h.attack(c)
	<-read
	switch lines := strings.Split(string(got), "HTTP/1.1 "); {
	case errors.Is(readErr, syscall.ECONNRESET): // which may overtake the answer
	case readErr != nil:
		t.Error(readErr)
	case h.code == 0 && len(got) != 0, h.code != 0 && !strings.HasPrefix(lines[len(lines)-1], fmt.Sprint(h.code)):
		t.Errorf("answers %q, want %d in the end", got, h.code)
	}
}

// askUntil asks for a promotion n times, and until ended if it is not nil, half
// of it on new connections. It returns the 99th percentile of the times.
func (f *fixture) askUntil(t *testing.T, ended <-chan struct{}, n int, patience time.Duration) time.Duration {
	t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	over := ended == nil
	var times []time.Duration
	for !over || len(times) < n {
		client := f.client
		if len(times)%2 == 0 {
			client = fresh
		}
		began := time.Now()
		res, err := client.Get(f.base + "/promotions/" + exampleID)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		res.Body.Close()
		took := time.Since(began)
		if res.StatusCode != 200 || string(body) != exampleJSON || took > patience {
			t.Fatalf("%d %s after %v", res.StatusCode, body, took)
		}
		times = append(times, took)
		select {
		case <-ended:
			over = true
		default:
		}
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// TestSlowReader never reads its answers, of one request or of many, plain or
// TLS. The server gives up on it.
func TestSlowReader(t *testing.T) {
	many := strings.Repeat(request("/prometheus"), 100)
	body := `{"ids":["` + exampleID + `"` + strings.Repeat(`,"`+exampleID+`"`, httpd.MaxLookupIDs-1) + `]}`
	large := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postLookup, len(body), body)
	for name, sent := range map[string]string{"pipelined": many, "large": large} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
			f.SetWriteTimeout(300 * time.Millisecond)
			publish(t, f.dir, genID(0), rows)
			f.poll(t)
			f.listen(t)
			alone := f.askUntil(t, nil, 200, 5*time.Second)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				c, err := net.Dial("tcp", f.ln.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
					t.Error(err)
					return
				}
				for err == nil {
					_, err = io.WriteString(c, sent)
				}
				if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("the server goes on with a client that reads nothing: %v", err)
				}
			}()
			t.Logf("p99 %v alone, %v under attack", alone, f.askUntil(t, ended, 200, 5*time.Second))
		})
	}
}

package httpd_test

import (
	"bytes"
	"cmp"
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
	"sync/atomic"
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
	code   int    // of the answer that ends the connection; 0: there is none, as when a body does not come
	slow   bool   // it is a timeout that ends it
	like   string // an ordinary request that is as long; empty: that for one promotion
}

func send(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// closing is the last request of a connection.
func closing(path string) string {
	return strings.Replace(request(path), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
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

// TestUnderAttack has hostile clients of each kind, again and again, while
// others ask for what is there: none of these fails, and they wait no longer
// than among as many clients who want nothing else.
func TestUnderAttack(t *testing.T) {
	const (
		pause = 20 * time.Millisecond
		beat  = 2 * time.Millisecond // the test would else be busy with its own clients
	)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 10<<20)) // in 10 KB
	must(t, err)
	must(t, z.Close())
	ask := func(path string) func(net.Conn) { return send(closing(path)) }
	lookup := func(body string) func(net.Conn) {
		return send(fmt.Sprintf("%sConnection: close\r\nContent-Length: %d\r\n\r\n%s", postLookup, len(body), body))
	}
	batch := batchOf(800)
	smuggled := "GET /promotions/" + exampleID + " HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, h := range map[string]hostile{
		"says nothing":              {attack: func(net.Conn) {}, slow: true},
		"slow request line":         {func(c net.Conn) { forEver(c, "G", pause) }, 408, true, ""},
		"slow header":               {func(c net.Conn) { send("GET /readyz HTTP/1.1\r\n")(c); forEver(c, "X: y\r\n", pause) }, 408, true, ""},
		"slow body":                 {func(c net.Conn) { send(postLookup + "Content-Length: 1000\r\n\r\n")(c); forEver(c, " ", pause) }, 0, true, ""},
		"slow chunks":               {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); forEver(c, "1\r\n \r\n", pause) }, 0, true, ""},
		"endless length of a chunk": {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); forEver(c, strings.Repeat("0", 1000), beat) }, 400, false, ""},
		"body shorter than it says": {send(postLookup + "Content-Length: 1000\r\n\r\n" + noIDs), 0, true, ""},
		"body longer than it says": {func(c net.Conn) {
			send(postLookup + "Content-Length: 10\r\n\r\n" + noIDs)(c)
			forEver(c, strings.Repeat("\x00\r\n\r\n", 200), beat)
		}, 400, false, ""},
		"endless request line": {func(c net.Conn) { send("GET /")(c); forEver(c, strings.Repeat("a", 1000), beat) }, 431, false, ""},
		"endless field":        {func(c net.Conn) { send("GET / HTTP/1.1\r\nX: ")(c); forEver(c, strings.Repeat("a", 1000), beat) }, 431, false, ""},
		"endless fields":       {func(c net.Conn) { send("GET / HTTP/1.1\r\n")(c); forEver(c, strings.Repeat("X: y\r\n", 200), beat) }, 431, false, ""},
		"endless chunks": {func(c net.Conn) {
			send(postLookup + chunked + "\r\n")(c)
			forEver(c, strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 32), beat)
		}, 413, false, ""},
		"chunk of terabytes": {func(c net.Conn) {
			send(postLookup + chunked + "\r\nfffffffffff\r\n")(c)
			forEver(c, strings.Repeat(" ", 1000), beat)
		}, 413, false, ""},
		"body of terabytes": {func(c net.Conn) {
			send(postLookup + "Content-Length: 9999999999999\r\n\r\n")(c)
			forEver(c, strings.Repeat(" ", 1000), beat)
		}, 413, false, ""},
		"gzip bomb":                            {send(fmt.Sprintf("%sConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", postLookup, bomb.Len(), &bomb)), 415, false, ""},
		"too many ids":                         {attack: lookup(`{"ids":[""` + strings.Repeat(`,""`, httpd.MaxLookupIDs) + `]}`), code: 413, like: batch},
		"lengths that differ, and a request":   {send(postLookup + "Content-Length: 10\r\nContent-Length: 20\r\n\r\n" + noIDs + smuggled), 400, false, ""},
		"a coding that is none, and a request": {send(postLookup + "Transfer-Encoding: xchunked\r\n\r\na\r\n" + noIDs + "\r\n0\r\n\r\n" + smuggled), 400, false, ""},
		"path with dots":                       {ask("/promotions/" + strings.Repeat("../", 1000) + "etc/passwd"), 404, false, ""},
		"path with encoded dots":               {ask("/promotions/" + strings.Repeat("%2e%2e%2f", 500) + "etc/passwd"), 404, false, ""},
		"path with a zero byte":                {ask("/promotions/" + exampleID + "%00"), 404, false, ""},
		"very long id":                         {ask("/promotions/" + strings.Repeat("a", 8000)), 404, false, ""},
		"very long ids":                        {attack: lookup(`{"ids":["` + strings.Repeat("a", 30_000) + `"]}`), code: 200, like: batch},
	} {
		t.Run(name, func(t *testing.T) {
			wantPatient(t, cmp.Or(h.like, request("/promotions/"+exampleID)), crowd{
				client: func(t *testing.T, f *fixture) { f.attack(t, h); time.Sleep(5 * beat) },
				limit: func(f *fixture) {
					if h.slow {
						f.SetReadTimeout(2 * time.Second)
					}
				},
				code: h.code,
			})
		})
	}
}

// A crowd is clients who come at the same time, again and again.
type crowd struct {
	client func(*testing.T, *fixture) // comes once
	limit  func(*fixture)             // of the server
	code   int                        // of the one answer that each gets; 0: of some other number
}

// wantPatient checks that whoever comes in between waits no longer than in a
// crowd that sends and reads as it should.
func wantPatient(t *testing.T, sent string, c crowd) {
	t.Helper()
	ordinary := crowd{client: busy(sent), limit: func(*fixture) {}}
	// They share the processors with whatever else runs, so that one of several
	// tries has to do. Who is held up by an attack waits for its timeout, which
	// is seconds.
	const tries, maxRatio = 5, 10
	for try := 1; ; try++ {
		among, under := ordinary.p99(t), c.p99(t)
		t.Logf("p99 %v among ordinary clients, %v under attack", among, under)
		if under <= maxRatio*among || t.Failed() {
			return
		}
		if try == tries {
			t.Fatalf("under attack it is more than %d times as long", maxRatio)
		}
	}
}

// batchOf asks for n promotions.
func batchOf(n int) string {
	body := `{"ids":["` + exampleID + `"` + strings.Repeat(`,"`+exampleID+`"`, n-1) + `]}`
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postLookup, len(body), body)
}

// busy is a client who sends the request again and again, and reads the answers.
func busy(sent string) func(*testing.T, *fixture) {
	return func(t *testing.T, f *fixture) {
		c := f.connect(t)
		if c == nil {
			return
		}
		defer c.Close()
		times := max(1, 2000/len(sent))
		go func() { _, _ = io.WriteString(c, strings.Repeat(sent, times)+closing("/healthz")) }()
		got, err := io.ReadAll(c)
		if want := times*strings.Count(sent, "Host:") + 1; err != nil || strings.Count(string(got), "HTTP/1.1 200 OK\r\n") != want {
			t.Errorf("not %d answers: %.200q, %v", want, got, err)
		}
	}
}

// p99 is the 99th percentile of the times in which a server answers in the
// crowd.
func (c crowd) p99(t *testing.T) time.Duration {
	t.Helper()
	const clients = 8
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetReadTimeout(patience)
	c.limit(f)
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	var came atomic.Int64
	enough := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for {
				c.client(t, f)
				came.Add(1)
				select {
				case <-enough:
					return
				default:
				}
			}
		})
	}
	p99 := f.ask(t, 100)
	close(enough)
	all.Wait()
	if n := f.answered(t, c.code); c.code != 0 && c.code != 200 && n != int(came.Load()) {
		t.Errorf("%d answers with %d, want %d", n, c.code, came.Load())
	}
	return p99
}

// answered is how many answers the server has counted with this code.
func (f *fixture) answered(t *testing.T, code int) (n int) {
	t.Helper()
	for line := range strings.Lines(f.get(t, "/prometheus").body) {
		labels, value, _ := strings.Cut(line, "} ")
		if strings.HasPrefix(labels, "promoserve_http_requests_total{") && strings.HasSuffix(labels, fmt.Sprintf(`code="%d"`, code)) {
			k, err := strconv.Atoi(strings.TrimSpace(value))
			must(t, err)
			n += k
		}
	}
	return n
}

// connect opens a connection that gives up after patience, for a client with a
// goroutine of its own. It is nil if that fails, which fails the test.
func (f *fixture) connect(t *testing.T) net.Conn {
	c, err := net.Dial("tcp", f.ln.Addr().String())
	if err != nil {
		t.Error(err)
		return nil
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Error(errors.Join(err, c.Close()))
		return nil
	}
	return c
}

// attack is one hostile client.
func (f *fixture) attack(t *testing.T, h hostile) {
	c := f.connect(t)
	if c == nil {
		return
	}
	defer c.Close()
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

// patience is for what must end, however busy the machine is.
const patience = time.Minute

// ask asks for a promotion n times, half of it on new connections. It returns
// the 99th percentile of the times.
func (f *fixture) ask(t *testing.T, n int) time.Duration {
	t.Helper()
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	var times []time.Duration
	for i := range n {
		client := f.client
		if i%2 == 0 {
			client = fresh
		}
		began := time.Now()
		res, err := client.Get(f.base + "/promotions/" + exampleID)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != 200 || string(body) != exampleJSON {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// TestSlowReader never reads its answers, of one request or of many, plain or
// TLS. The server gives up on it.
func TestSlowReader(t *testing.T) {
	many := strings.Repeat(request("/prometheus"), 100)
	for name, sent := range map[string]string{"pipelined": many, "large": batchOf(1000)} {
		t.Run(name, func(t *testing.T) {
			wantPatient(t, sent, crowd{
				client: func(t *testing.T, f *fixture) {
					c := f.connect(t)
					if c == nil {
						return
					}
					defer c.Close()
					var err error
					for err == nil {
						_, err = io.WriteString(c, sent)
						time.Sleep(2 * time.Millisecond)
					}
					if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
						t.Errorf("the server goes on with a client that reads nothing: %v", err)
					}
				},
				limit: func(f *fixture) { f.SetWriteTimeout(300 * time.Millisecond) },
			})
		})
	}
}

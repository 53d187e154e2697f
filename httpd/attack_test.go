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

// An attack is the behavior of a hostile client on one connection.
type attack struct {
	run  func(net.Conn)
	code int    // of the answer that ends the connection; 0: no answer, for example to an incomplete body
	slow bool   // a timeout ends the connection
	like string // an ordinary request of the same length; default: GET of one promotion
}

// send returns an attack that sends text.
func send(text string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, text) }
}

// closing returns a request that closes its connection.
func closing(path string) string {
	return strings.Replace(request(path), "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1)
}

// repeat writes b repeatedly, with pauses, until the connection ends.
func repeat(c net.Conn, b string, pause time.Duration) {
	for {
		if _, err := io.WriteString(c, b); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// TestAttackDoesNotSlowOtherClients runs hostile clients of one kind beside an
// ordinary client. The ordinary client must receive all its answers, and wait no
// longer than beside the same number of ordinary clients.
func TestAttackDoesNotSlowOtherClients(t *testing.T) {
	const (
		pause = 20 * time.Millisecond
		beat  = 2 * time.Millisecond // keeps the hostile clients from using all processor time
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
	for name, a := range map[string]attack{
		"silence":                      {run: func(net.Conn) {}, slow: true},
		"slow request line":            {func(c net.Conn) { repeat(c, "G", pause) }, 408, true, ""},
		"slow header":                  {func(c net.Conn) { send("GET /readyz HTTP/1.1\r\n")(c); repeat(c, "X: y\r\n", pause) }, 408, true, ""},
		"slow body":                    {func(c net.Conn) { send(postLookup + "Content-Length: 1000\r\n\r\n")(c); repeat(c, " ", pause) }, 408, true, ""},
		"slow chunks":                  {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); repeat(c, "1\r\n \r\n", pause) }, 408, true, ""},
		"endless length of a chunk":    {func(c net.Conn) { send(postLookup + chunked + "\r\n")(c); repeat(c, strings.Repeat("0", 1000), beat) }, 400, false, ""},
		"body shorter than its length": {send(postLookup + "Content-Length: 1000\r\n\r\n" + noIDs), 408, true, ""},
		"body longer than its length": {func(c net.Conn) {
			send(postLookup + "Content-Length: 10\r\n\r\n" + noIDs)(c)
			repeat(c, strings.Repeat("\x00\r\n\r\n", 200), beat)
		}, 400, false, ""},
		"endless request line": {func(c net.Conn) { send("GET /")(c); repeat(c, strings.Repeat("a", 1000), beat) }, 431, false, ""},
		"endless field":        {func(c net.Conn) { send("GET / HTTP/1.1\r\nX: ")(c); repeat(c, strings.Repeat("a", 1000), beat) }, 431, false, ""},
		"endless fields":       {func(c net.Conn) { send("GET / HTTP/1.1\r\n")(c); repeat(c, strings.Repeat("X: y\r\n", 200), beat) }, 431, false, ""},
		"endless chunks": {func(c net.Conn) {
			send(postLookup + chunked + "\r\n")(c)
			repeat(c, strings.Repeat("400\r\n"+strings.Repeat(" ", 1024)+"\r\n", 32), beat)
		}, 413, false, ""},
		"chunk of terabytes": {func(c net.Conn) {
			send(postLookup + chunked + "\r\nfffffffffff\r\n")(c)
			repeat(c, strings.Repeat(" ", 1000), beat)
		}, 413, false, ""},
		"body of terabytes": {func(c net.Conn) {
			send(postLookup + "Content-Length: 9999999999999\r\n\r\n")(c)
			repeat(c, strings.Repeat(" ", 1000), beat)
		}, 413, false, ""},
		"gzip bomb":                           {send(fmt.Sprintf("%sConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", postLookup, bomb.Len(), &bomb)), 415, false, ""},
		"too many ids":                        {run: lookup(`{"ids":[""` + strings.Repeat(`,""`, httpd.MaxLookupIDs) + `]}`), code: 413, like: batch},
		"different lengths, smuggled request": {send(postLookup + "Content-Length: 10\r\nContent-Length: 20\r\n\r\n" + noIDs + smuggled), 400, false, ""},
		"invalid coding, smuggled request":    {send(postLookup + "Transfer-Encoding: xchunked\r\n\r\na\r\n" + noIDs + "\r\n0\r\n\r\n" + smuggled), 400, false, ""},
		"path with dots":                      {ask("/promotions/" + strings.Repeat("../", 1000) + "etc/passwd"), 404, false, ""},
		"path with encoded dots":              {ask("/promotions/" + strings.Repeat("%2e%2e%2f", 500) + "etc/passwd"), 404, false, ""},
		"path with a zero byte":               {ask("/promotions/" + exampleID + "%00"), 404, false, ""},
		"very long id":                        {ask("/promotions/" + strings.Repeat("a", 8000)), 404, false, ""},
		"very long ids":                       {run: lookup(`{"ids":["` + strings.Repeat("a", 30_000) + `"]}`), code: 413, like: batch},
	} {
		t.Run(name, func(t *testing.T) {
			wantSameLatency(t, cmp.Or(a.like, request("/promotions/"+exampleID)), crowd{
				client: func(t *testing.T, f *fixture) { f.attack(t, a); time.Sleep(5 * beat) },
				limit: func(f *fixture) {
					if a.slow {
						f.SetReadTimeout(time.Second)
					}
				},
				code: a.code,
			})
		})
	}
}

// A crowd is a group of clients that connect repeatedly and at the same time.
type crowd struct {
	client func(*testing.T, *fixture) // connects once
	limit  func(*fixture)             // sets limits of the server
	code   int                        // of the only answer that a client receives; 0: not checked
}

// ordinaryP99 holds the latest result of each ordinary crowd. The tests that use
// it are not parallel.
var ordinaryP99 = map[string]time.Duration{}

// wantSameLatency checks that an ordinary client beside the crowd c waits no
// longer than beside a crowd that sends the request sent and reads the answers.
func wantSameLatency(t *testing.T, sent string, c crowd) {
	t.Helper()
	ordinary := crowd{client: busy(sent), limit: func(*fixture) {}}
	// All clients share the processors with other processes, so one success in
	// several tries suffices. A client that an attack holds up waits for a
	// timeout of seconds.
	const tries, maxRatio = 5, 10
	for try := 1; ; try++ {
		// Most attacks are compared with the same ordinary crowd, which is
		// measured once, and again before another try.
		among, known := ordinaryP99[sent]
		if !known || try > 1 {
			among = ordinary.p99(t)
			ordinaryP99[sent] = among
		}
		under := c.p99(t)
		t.Logf("p99 %v beside ordinary clients, %v under attack", among, under)
		if under <= maxRatio*among || t.Failed() {
			return
		}
		if try == tries {
			t.Fatalf("p99 under attack is more than %d times as long", maxRatio)
		}
	}
}

// batchOf returns a request for n promotions.
func batchOf(n int) string {
	body := `{"ids":["` + exampleID + `"` + strings.Repeat(`,"`+exampleID+`"`, n-1) + `]}`
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", postLookup, len(body), body)
}

// busy returns a client that sends a request repeatedly and reads the answers.
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
			t.Errorf("want %d answers: %.200q, %v", want, got, err)
		}
	}
}

// p99 returns the 99th percentile of the latency of an ordinary client beside
// the crowd.
func (c crowd) p99(t *testing.T) time.Duration {
	t.Helper()
	const crowdSize = 8
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetReadTimeout(patience)
	f.SetLingerTimeout(50 * time.Millisecond)
	c.limit(f)
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	var connections atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range crowdSize {
		clients.Go(func() {
			for {
				c.client(t, f)
				connections.Add(1)
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	p99 := f.ask(t, 100)
	close(stop)
	clients.Wait()
	if n := f.answered(t, c.code); c.code != 0 && c.code != 200 && n != int(connections.Load()) {
		t.Errorf("%d answers with %d, want %d", n, c.code, connections.Load())
	}
	return p99
}

// answered returns the number of answers with this code that the server counted.
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

// connect opens a connection whose deadline is patience from now. On failure it
// reports an error and returns nil, so any goroutine may call it.
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

// attack runs a on a new connection.
func (f *fixture) attack(t *testing.T, a attack) {
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
	a.run(c)
	<-read
	switch lines := strings.Split(string(got), "HTTP/1.1 "); {
	case errors.Is(readErr, syscall.ECONNRESET): // a reset may overtake the answer
	case readErr != nil:
		t.Error(readErr)
	case a.code == 0 && len(got) != 0, a.code != 0 && !strings.HasPrefix(lines[len(lines)-1], fmt.Sprint(a.code)):
		t.Errorf("received %q, want %d as the last answer", got, a.code)
	}
}

// patience bounds waits that must end even on a busy machine.
const patience = time.Minute

// ask requests a promotion n times, half of them on new connections. It returns
// the 99th percentile of the latency.
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
		if res.StatusCode != 200 || string(body) != exampleJSON+"\n" {
			t.Fatalf("%d %s", res.StatusCode, body)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// TestUnreadAnswersEndConnection runs clients that never read their answers. The
// server must close their connections.
func TestUnreadAnswersEndConnection(t *testing.T) {
	many := strings.Repeat(request("/prometheus"), 100)
	for name, sent := range map[string]string{"pipelined": many, "large": batchOf(1000)} {
		t.Run(name, func(t *testing.T) {
			wantSameLatency(t, sent, crowd{
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
						t.Errorf("the connection of a client that reads nothing ends with %v, want a reset", err)
					}
				},
				limit: func(f *fixture) { f.SetWriteTimeout(300 * time.Millisecond) },
			})
		})
	}
}

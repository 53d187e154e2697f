package httpd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// shortTimeout is a timeout that tests wait for. It also bounds the other
// connections of a test, so a busy machine must complete a handshake and a
// request within it.
const shortTimeout = 2 * time.Second

func TestConnectionsLeaveDescriptorsAndMemoryFree(t *testing.T) {
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	before := limit
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	for cur, want := range map[uint64]int{1000: 875, 500: 436, 100: 50} {
		limit.Cur = cur
		must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		if got := httpd.New(httpd.Options{Memory: 1 << 30}).Concurrency(); got != want {
			t.Errorf("%d connections with %d descriptors, want %d", got, cur, want)
		}
		if got := httpd.New(httpd.Options{Memory: 1 << 20}).Concurrency(); got != 21 {
			t.Errorf("%d connections with %d descriptors and 1 MiB of memory, want 21", got, cur)
		}
	}
}

func TestMaxConnsPerIP(t *testing.T) {
	f := serveSocket(t, httpd.Options{MaxConnsPerIP: 2})
	var c net.Conn
	var r *bufio.Reader
	for range 2 {
		c, r = f.dial(t)
		fmt.Fprint(c, request("/healthz"))
		receive(t, r).want(t, 200, `{"status":"ok"}`)
	}
	_, rejected := f.dial(t)
	if a := receive(t, rejected); a.code != 429 {
		t.Errorf("the third connection gets %d, want 429", a.code)
	}
	fmt.Fprint(c, request("/healthz"))
	receive(t, r).want(t, 200, `{"status":"ok"}`)
}

// TestSilentConnectionGetsNoAnswer ends connections on which no request
// arrived. The server must neither answer nor count them as requests.
func TestSilentConnectionGetsNoAnswer(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := newFixture(t, httpd.Options{Certificates: certs}, reader.StoreOptions{})
	f.SetReadTimeout(shortTimeout)
	f.listen(t)
	wantSilence := func(r io.Reader) {
		t.Helper()
		if got, err := io.ReadAll(r); len(got) != 0 {
			t.Errorf("received %q, %v", got, err)
		}
	}
	c, _ := f.dial(t)
	secure, _ := f.dialTLS(t)
	wantSilence(c)      // read timeout
	wantSilence(secure) // read timeout after the handshake
	c, _ = f.dial(t)
	must(t, c.(*net.TCPConn).SetLinger(0))
	must(t, c.Close()) // sends RST
	c, _ = f.dial(t)
	fmt.Fprint(c, "\x16\x03\x01\x00\x05hello")
	_, _ = io.ReadAll(c) // an alert
	for f.metric(t, "promoserve_http_connections_open") != "1" {
		runtime.Gosched() // until the server has seen the RST
	}
	body := f.get(t, "/prometheus").body
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, `promoserve_http_requests_total{endpoint="other",code="4`) && !strings.HasSuffix(line, " 0\n") {
			t.Error(line)
		}
	}
	if got := f.metric(t, "promoserve_tls_handshake_errors_total"); got != "1" {
		t.Errorf("%s handshake errors, want 1", got)
	}
}

func TestServerHasTimeouts(t *testing.T) {
	fast := httpd.NewFastServer(nil)
	if cloud := 620 * time.Second; fast.IdleTimeout <= cloud {
		t.Errorf("the idle timeout %v is not longer than that of load balancers, %v", fast.IdleTimeout, cloud)
	}
	if fast.ReadTimeout != httpd.ReadTimeout || fast.WriteTimeout != httpd.WriteTimeout || fast.IdleTimeout != httpd.IdleTimeout {
		t.Errorf("read, write and idle timeouts are %v, %v and %v", fast.ReadTimeout, fast.WriteTimeout, fast.IdleTimeout)
	}
}

func TestSlowRequestTimesOut(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetReadTimeout(shortTimeout)
	f.listen(t)
	c, r := f.dial(t)
	fmt.Fprint(c, "GET /healthz HTTP/1.1\r\n")
	receive(t, r).want(t, 408, `{"error":"the request took too long"}`)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %v, want the end of the connection", err)
	}
	if got := f.metric(t, `promoserve_http_requests_total{endpoint="other",code="408"}`); got != "1" {
		t.Errorf("%s requests counted, want 1", got)
	}
}

// TestBodyThatDoesNotArriveTimesOut announces a body, on the first request of a
// connection and on a later one, and sends nothing of it.
func TestBodyThatDoesNotArriveTimesOut(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetReadTimeout(shortTimeout)
	f.SetWriteTimeout(shortTimeout) // that of an earlier answer has passed
	f.listen(t)
	var readers []*bufio.Reader
	for _, earlier := range []int{0, 1} {
		for _, fields := range []string{"", "Expect: 100-continue\r\n"} {
			c, r := f.dial(t)
			for range earlier {
				fmt.Fprint(c, request("/healthz"))
				receive(t, r).want(t, 200, `{"status":"ok"}`)
			}
			fmt.Fprint(c, postLookup+fields+"Content-Length: 10\r\n\r\n")
			if fields != "" {
				if a := receive(t, r); a.code != 100 {
					t.Errorf("got %d, want 100", a.code)
				}
			}
			readers = append(readers, r)
		}
	}
	for _, r := range readers {
		receive(t, r).want(t, 408, `{"error":"the request took too long"}`)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after the answer: %v, want the end of the connection", err)
		}
	}
	if got := f.metric(t, `promoserve_http_requests_total{endpoint="other",code="408"}`); got != "4" {
		t.Errorf("%s requests counted, want 4", got)
	}
}

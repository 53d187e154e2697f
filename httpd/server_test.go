package httpd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// serveSocket serves rows on a socket.
func serveSocket(t testing.TB, opts httpd.Options) *fixture {
	f := newFixture(t, opts, reader.StoreOptions{Access: reader.AccessMmap})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	return f
}

// dial opens a connection that gives up after ten seconds.
func (f *fixture) dial(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.ln.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c, bufio.NewReader(c)
}

// receive reads one response.
func receive(t testing.TB, r *bufio.Reader) answer {
	t.Helper()
	res, err := http.ReadResponse(r, nil)
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return answer{res.StatusCode, res.Header, string(body)}
}

func request(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

func TestKeepAliveAndPipelining(t *testing.T) {
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

func TestMalformedRequests(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	for _, c := range []struct {
		request string
		code    int
		body    string
	}{
		{"\x00\x01\r\n\r\n", 400, `{"error":"malformed request"}`},
		{"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, `{"error":"malformed request"}`},
		{"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", 431, `{"error":"the request line and headers are too long"}`},
		{"POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n", 413, `{"error":"the body is too long"}`},
	} {
		conn, r := f.dial(t)
		fmt.Fprint(conn, c.request)
		receive(t, r).want(t, c.code, c.body)
		if _, err := r.ReadByte(); err == nil {
			t.Errorf("%.20q: the connection stays open", c.request)
		}
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
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
	_, refused := f.dial(t)
	if a := receive(t, refused); a.code != 429 {
		t.Errorf("the third connection gets %d", a.code)
	}
	fmt.Fprint(c, request("/healthz"))
	receive(t, r).want(t, 200, `{"status":"ok"}`)
}

// A brokeListener has no descriptors for a while.
type brokeListener struct {
	net.Listener
	errors []error // of the next Accepts
}

func (l *brokeListener) Accept() (net.Conn, error) {
	if len(l.errors) > 0 {
		err := l.errors[0]
		l.errors = l.errors[1:]
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

// TestAcceptShortage lets Accept fail for want of what may come back.
func TestAcceptShortage(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.base = "http://" + ln.Addr().String()
	f.serve(t, &brokeListener{ln, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}}, &http.Transport{})
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)
	if got := f.metric(t, "promoserve_http_accept_errors_total"); got != "4" {
		t.Errorf("%s errors counted", got)
	}
	if n := strings.Count(f.log.String(), "connections wait to be accepted"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, f.log)
	}
}

// TestAcceptShortageShutdown stops a server that waits for descriptors.
func TestAcceptShortageShutdown(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.serve(t, &brokeListener{ln, slices.Repeat([]error{syscall.EMFILE}, 1000)}, &http.Transport{})
}

// TestAcceptBroken ends with an error that does not go away.
func TestAcceptBroken(t *testing.T) {
	srv := httpd.New(httpd.Options{Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	if err := srv.Serve(&brokeListener{ln, []error{syscall.EINVAL}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve: %v, want %v", err, syscall.EINVAL)
	}
}

// TestSpareDescriptors wants some to be left when every connection that there
// may be is open.
func TestSpareDescriptors(t *testing.T) {
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	before := limit
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	for cur, want := range map[uint64]int{1000: 936, 100: 50} {
		limit.Cur = cur
		must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
		if got := httpd.New(httpd.Options{}).Concurrency(); got != want {
			t.Errorf("%d connections with %d descriptors, want %d", got, cur, want)
		}
	}
}

// shortTimeout is one that tests wait for. It holds for all their connections,
// so a busy machine must manage a handshake and a request in it.
const shortTimeout = 2 * time.Second

// TestNothingSent ends connections on which nothing came: they are no requests
// and get no answer.
func TestNothingSent(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := newFixture(t, httpd.Options{Certificates: certs}, reader.StoreOptions{})
	f.SetReadTimeout(shortTimeout)
	f.listen(t)
	ended := func(r io.Reader) {
		t.Helper()
		if got, err := io.ReadAll(r); len(got) != 0 {
			t.Errorf("%q, %v", got, err)
		}
	}
	c, _ := f.dial(t)
	secure, _ := f.dialTLS(t)
	ended(c)      // timeout
	ended(secure) // timeout behind the handshake
	c, _ = f.dial(t)
	must(t, c.(*net.TCPConn).SetLinger(0))
	must(t, c.Close()) // RST
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
		t.Errorf("%s handshakes failed", got)
	}
}

// TestTimeouts sends a request too slowly, and wants what is used for it to be
// set as long as the package says.
func TestTimeouts(t *testing.T) {
	fast := httpd.NewFastServer(nil)
	if fast.ReadTimeout != httpd.ReadTimeout || fast.WriteTimeout != httpd.WriteTimeout || fast.IdleTimeout != httpd.IdleTimeout {
		t.Errorf("timeouts %v, %v and %v", fast.ReadTimeout, fast.WriteTimeout, fast.IdleTimeout)
	}
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetReadTimeout(shortTimeout)
	f.listen(t)
	c, r := f.dial(t)
	fmt.Fprint(c, "GET /healthz HTTP/1.1\r\n")
	receive(t, r).want(t, 408, `{"error":"the request took too long"}`)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection stays open: %v", err)
	}
	if got := f.metric(t, `promoserve_http_requests_total{endpoint="other",code="408"}`); got != "1" {
		t.Errorf("%s requests counted", got)
	}
}

// TestPanic lets a server without a Store fall over.
func TestPanic(t *testing.T) {
	var log logBuffer
	f := &fixture{Server: httpd.New(httpd.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})}
	f.listen(t)
	for range 2 {
		f.get(t, "/promotions/"+exampleID).want(t, 500, `{"error":"internal error"}`)
	}
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)
	for _, want := range []string{"nil pointer", exampleID, "promotions.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, &log)
		}
	}
}

func TestDrain(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	idle, idleReader := f.dial(t)
	fmt.Fprint(idle, request("/healthz"))
	receive(t, idleReader)
	late, lateReader := f.dial(t)
	fmt.Fprint(late, strings.TrimSuffix(request("/promotions/"+exampleID), "\r\n"))

	f.Drain()
	f.get(t, "/readyz").want(t, 503, `{"error":"draining"}`)
	c, r := f.dial(t)
	fmt.Fprint(c, request("/promotions/"+exampleID))
	receive(t, r).want(t, 200, exampleJSON)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection stays open: %v", err)
	}
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)

	stopped := make(chan error, 1)
	go func() { stopped <- f.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); err == nil {
		t.Error("an idle connection gets an answer")
	}
	select {
	case err := <-stopped:
		t.Error("stopped with a request in flight:", err)
	default:
	}
	fmt.Fprint(late, "\r\n")
	receive(t, lateReader).want(t, 200, exampleJSON)
	must(t, <-stopped)
	if _, err := net.Dial("tcp", f.ln.Addr().String()); err == nil {
		t.Error("a connection after the shutdown")
	}
}

func TestShutdownGivesUp(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	c, _ := f.dial(t)
	fmt.Fprint(c, "GET /")
	f.get(t, "/healthz") // by now the server has accepted the half request too
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
}

// TestShutdownAtOnce stops servers that are about to begin.
func TestShutdownAtOnce(t *testing.T) {
	for i := range 200 {
		srv := httpd.New(httpd.Options{Logger: slog.New(slog.DiscardHandler)})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		if i == 0 {
			must(t, srv.Shutdown(context.Background()))
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		must(t, srv.Shutdown(context.Background()))
		must(t, <-served)
	}
}

// TestTruncated cuts the file that is being served, which a mapping answers
// with SIGBUS.
func TestTruncated(t *testing.T) {
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		t.Run(access.String(), func(t *testing.T) {
			f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
			publish(t, f.dir, genID(0), rows)
			f.poll(t)
			changed := append([]row{{exampleID, "1.00", "2030-01-01 00:00:00"}}, rows[1:]...)
			path := publish(t, f.dir, genID(1), changed)
			f.poll(t)
			f.listen(t)
			f.get(t, "/promotions/"+exampleID).want(t, 200, promotionJSON(exampleID, "1.00", "2030-01-01 00:00:00"))

			must(t, os.Truncate(path, format.HeaderLen))
			a := f.get(t, "/promotions/"+exampleID).want(t, 503, `{"error":"the generation cannot be read"}`)
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			f.get(t, "/readyz").want(t, 503, `{"error":"no generation yet"}`)
			f.poll(t)
			f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
			f.get(t, "/readyz").want(t, 200, `{"status":"ready"}`)
			if got := f.metric(t, `promoserve_generation_swaps_total{result="fault"}`); got != "1" {
				t.Errorf("%s faults", got)
			}
			if !strings.Contains(f.log.String(), "generation demoted") {
				t.Errorf("log:\n%s", f.log)
			}
		})
	}
}

// TestDamaged serves a file whose blocks were not verified and are bad.
func TestDamaged(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{IndexOnly: true})
	path := publish(t, f.dir, genID(0), rows)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	record := make([]byte, format.RecordLen)
	at := int64(format.HeaderLen + format.RecordLen) // the example is second
	_, err = file.ReadAt(record, at)
	must(t, err)
	for i := 16; i < len(record); i++ {
		record[i] = 0xFF
	}
	_, err = file.WriteAt(record, at)
	must(t, err)
	f.poll(t)
	f.listen(t)
	f.get(t, "/promotions/"+exampleID).want(t, 500, `{"error":"the generation is damaged"}`)
	f.get(t, "/promotions/"+rows[4].id).want(t, 200, promotionJSON(rows[4].id, rows[4].price, "2018-10-28 02:30:00"))
	f.do(t, "POST", "/promotions/lookup", `{"ids":["`+exampleID+`"]}`).want(t, 500, `{"error":"the generation is damaged"}`)
	if got := f.metric(t, `promoserve_lookups_total{result="error"}`); got != "2" {
		t.Errorf("%s lookups failed", got)
	}
	if !strings.Contains(f.log.String(), exampleID) {
		t.Errorf("log:\n%s", f.log)
	}
}

// TestDamagedLater damages a generation that was verified: it is taken out of
// service.
func TestDamagedLater(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	changed := append([]row{{exampleID, "1.00", "2030-01-01 00:00:00"}}, rows[1:]...)
	path := publish(t, f.dir, genID(1), changed)
	f.poll(t)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	// The example is second.
	_, err = file.WriteAt(bytes.Repeat([]byte{0xFF}, 16), format.HeaderLen+format.RecordLen+16)
	must(t, err)
	f.get(t, "/promotions/"+exampleID).want(t, 503, `{"error":"the generation cannot be read"}`)
	f.poll(t)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestRefused keeps the generation that is there when the next is bad.
func TestRefused(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	path := publish(t, f.dir, genID(1), rows)
	must(t, os.Truncate(path, format.HeaderLen+100))
	f.poll(t)
	f.listen(t)
	a := f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	if got := a.header.Get("X-Promotions-Generation"); got != genID(0).String() {
		t.Errorf("generation %s", got)
	}
	if got := f.metric(t, `promoserve_generation_swaps_total{result="refused"}`); got != "1" {
		t.Errorf("%s refused", got)
	}
	if !strings.Contains(f.log.String(), "generation refused") {
		t.Errorf("log:\n%s", f.log)
	}
}

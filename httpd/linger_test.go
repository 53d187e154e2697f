package httpd_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// TestEarlyAnswerReachesSender sends requests that are answered before their end,
// from clients that read the answer only after they have sent everything.
func TestEarlyAnswerReachesSender(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	long := func(start string, n int) string {
		return start + fmt.Sprintf("Content-Length: %d\r\n\r\n", n) + strings.Repeat(" ", n)
	}
	const get = "GET /promotions/" + exampleID + " HTTP/1.1\r\nHost: x\r\n"
	for name, c := range map[string]struct {
		sent string
		code int
	}{
		"lookup, a byte too long":  {long(postLookup, 1<<20+1), 413},
		"lookup of 8 MiB":          {long(postLookup, 8<<20), 413},
		"chunks of 8 MiB":          {postLookup + chunked + "\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 128), 413},
		"compressed, 8 MiB":        {long(postLookup+"Content-Encoding: gzip\r\n", 8<<20), 415},
		"malformed chunks":         {postLookup + chunked + "\r\n" + strings.Repeat("z", 8<<20), 400},
		"GET with 8 MiB":           {long(get, 8<<20), 200},
		"PUT of 8 MiB":             {long(strings.Replace(postLookup, "POST", "PUT", 1), 8<<20), 405},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n" + long("", 8<<20), 400},
		"header of a MiB":          {"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", 431},
		"other coding, 8 MiB":      {long("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n", 8<<20), 400},
		"lines of LF and a MiB":    {"POST / HTTP/1.1\nHost: x\n" + long("", 1<<20), 400},
		"other path with 300 KiB":  {long("POST /x HTTP/1.1\r\nHost: x\r\n", 300<<10), 404},
		"body of 300 KiB, answers": {long(get, 300<<10), 200},
	} {
		for range 5 {
			plain, _ := f.dial(t)
			secure, _ := f.dialTLS(t)
			for _, conn := range []net.Conn{plain, secure} {
				if _, err := io.WriteString(conn, c.sent); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if a := receive(t, bufio.NewReader(conn)); a.code != c.code {
					t.Errorf("%s: %d, want %d", name, a.code, c.code)
				}
				conn.Close()
			}
		}
	}
}

// TestTLSOnlyAnswerReachesSender sends a long request to a port for https.
func TestTLSOnlyAnswerReachesSender(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs, TLSOnly: true})
	c, r := f.dial(t)
	_, err = fmt.Fprintf(c, "%sContent-Length: 8388608\r\n\r\n%s", postLookup, strings.Repeat(" ", 8<<20))
	must(t, err)
	receive(t, r).want(t, 400, `{"error":"this port accepts https only"}`)
}

// TestLingerIsBounded goes on sending after an early answer, slowly, fast, and on
// more connections than may linger.
func TestLingerIsBounded(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetLingerTimeout(100 * time.Millisecond)
	f.listen(t)
	early := postLookup + "Content-Length: 9999999999\r\n\r\n " // a byte of the body
	endless := func(c net.Conn, step int, pause time.Duration) (sent int) {
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		for {
			n, err := io.WriteString(c, strings.Repeat(" ", step))
			sent += n
			if err != nil {
				return sent
			}
			time.Sleep(pause)
		}
	}
	c, r := f.dial(t)
	fmt.Fprint(c, early)
	receive(t, r).want(t, 413, `{"error":"the body is too long"}`)
	endless(c, 1, time.Millisecond)

	g := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	g.SetLingerTimeout(time.Hour)
	g.listen(t)
	c, _ = g.dial(t)
	fmt.Fprint(c, early)
	if sent, most := endless(c, 1<<20, 0), httpd.MaxLinger+32<<20; sent > most {
		t.Errorf("the server takes %d bytes, more than %d", sent, most) // with the buffers of the kernel
	}
	var held []net.Conn
	for range httpd.MaxLingering {
		c, r := g.dial(t)
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		fmt.Fprint(c, early)
		receive(t, r).want(t, 413, `{"error":"the body is too long"}`)
		if _, err := r.ReadByte(); err != io.EOF {
			t.Fatalf("the server does not end its answers: %v", err)
		}
		held = append(held, c)
	}
	c, _ = g.dial(t)
	fmt.Fprint(c, early)
	endless(c, 1, time.Millisecond)
	for _, c := range held {
		c.Close()
	}
}

// TestLingerEndsTLS checks that an early answer ends a TLS connection properly.
func TestLingerEndsTLS(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", f.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
		must(t, err)
		fmt.Fprint(c, postLookup+"Content-Length: 9999999999\r\n\r\n ")
		if got, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 413 ") {
			t.Errorf("%.100q, %v", got, err)
		}
		c.Close()
	}
}

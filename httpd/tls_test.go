package httpd_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"promostore/httpd"
	"promostore/web"
)

// writeCertificate writes a certificate for localhost, and its key.
func writeCertificate(t testing.TB, certFile, keyFile string, serial int64) {
	t.Helper()
	writeExpiring(t, certFile, keyFile, serial, time.Now().Add(time.Hour))
}

// writeExpiring writes a certificate that expires at the time expires.
func writeExpiring(t testing.TB, certFile, keyFile string, serial int64, expires time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     expires,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// dialTLS opens a TLS connection and returns the serial number of the
// certificate.
func (f *fixture) dialTLS(t testing.TB) (*tls.Conn, int64) {
	t.Helper()
	c, err := tls.Dial("tcp", f.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c, c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestPortAcceptsHTTPAndHTTPS(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)

	c, _ := f.dialTLS(t)
	r := bufio.NewReader(c)
	for range 3 { // on one connection
		fmt.Fprint(c, request("/promotions/"+exampleID))
		receive(t, r).want(t, 200, exampleJSON)
	}
	fmt.Fprint(c, strings.Repeat(request("/promotions/1"), 20))
	for range 20 {
		receive(t, r).want(t, 404, unknownJSON)
	}

	// A client that verifies the certificate and prefers HTTP/2.
	roots := x509.NewCertPool()
	roots.AddCert(c.ConnectionState().PeerCertificates[0])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	secure := &fixture{base: "https://" + f.ln.Addr().String(), client: &http.Client{Transport: api.Transport(t, transport)}}
	secure.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	secure.base = strings.Replace(secure.base, "127.0.0.1", "localhost", 1)
	secure.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestSilentConnectionDelaysNoOther opens connections that send nothing, or an
// incomplete handshake. Other connections must be served.
func TestSilentConnectionDelaysNoOther(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	silent, silentReader := f.dial(t)
	half, _ := f.dial(t)
	_, err = half.Write([]byte{0x16}) // the first byte of a handshake
	must(t, err)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	f.dialTLS(t)
	fmt.Fprint(silent, request("/promotions/"+exampleID))
	receive(t, silentReader).want(t, 200, exampleJSON)
}

// A silentConn is a connection whose client sends nothing after the text sent.
// Its deadline expires as soon as a Read would wait.
type silentConn struct {
	net.Conn
	sent     *strings.Reader
	deadline time.Time
}

func (c *silentConn) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func (c *silentConn) Read(p []byte) (int, error) {
	switch {
	case c.sent.Len() > 0:
		return c.sent.Read(p)
	case c.deadline.IsZero():
		return 0, errors.New("read without a deadline")
	}
	return 0, os.ErrDeadlineExceeded
}

// A silentListener accepts one connection.
type silentListener struct {
	net.Listener
	conn net.Conn
}

func (l silentListener) Accept() (net.Conn, error) { return l.conn, nil }

// TestReadDeadlineCoversHandshake sets a read deadline before the first byte. It
// must end a wait for that byte and for the rest of a handshake.
func TestReadDeadlineCoversHandshake(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	for _, sent := range []string{"", "\x16", "\x16\x03\x01\x01\x00"} {
		client, below := net.Pipe()
		var failed error
		ln := httpd.NewListener(silentListener{conn: &silentConn{Conn: below, sent: strings.NewReader(sent)}}, certs, func(_ net.Conn, err error) { failed = err })
		server, err := ln.Accept()
		must(t, err)
		must(t, server.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = server.Read(make([]byte, 100))
		if sent != "" { // fasthttp must see the end of the connection
			if err != io.EOF { //nolint:errorlint // fasthttp does not unwrap it either
				t.Errorf("after %q: %v, want %v", sent, err, io.EOF)
			}
			err = failed
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %q: %v, want a timeout", sent, err)
		}
		below.Close()
		client.Close()
	}
}

func TestTLSOnlyRejectsHTTP(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs, TLSOnly: true})
	c, r := f.dial(t)
	fmt.Fprint(c, request("/promotions/"+exampleID))
	receive(t, r).want(t, 400, `{"error":"this port accepts https only"}`)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %v, want the end of the connection", err)
	}
	secure, _ := f.dialTLS(t)
	fmt.Fprint(secure, request("/promotions/"+exampleID))
	receive(t, bufio.NewReader(secure)).want(t, 200, exampleJSON)
}

func TestHandshakeFailsWithoutCertificate(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	if _, err := tls.Dial("tcp", f.ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}); err == nil {
		t.Error("a handshake succeeds")
	}
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

func TestReloadKeepsCertificateOnError(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if _, err := web.OpenCertificates(web.CertificateOptions{CertFile: certFile, KeyFile: keyFile}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing files: %v, want %v", err, os.ErrNotExist)
	}
	writeCertificate(t, certFile, keyFile, 1)
	certs, err := web.OpenCertificates(web.CertificateOptions{CertFile: certFile, KeyFile: keyFile})
	must(t, err)
	f := serveSocket(t, httpd.Options{Certificates: certs})
	old, serial := f.dialTLS(t)
	if serial != 1 {
		t.Fatalf("certificate %d, want 1", serial)
	}

	writeCertificate(t, certFile, keyFile, 2)
	if _, serial := f.dialTLS(t); serial != 1 {
		t.Errorf("certificate %d before the reload, want 1", serial)
	}
	f.ReloadCertificates()
	if _, serial := f.dialTLS(t); serial != 2 {
		t.Errorf("certificate %d after the reload, want 2", serial)
	}

	for name, breakIt := range map[string]func(){
		"not PEM":      func() { must(t, os.WriteFile(certFile, []byte("x"), 0o600)) },
		"other key":    func() { writeCertificate(t, filepath.Join(dir, "other.pem"), keyFile, 3) },
		"missing key":  func() { must(t, os.Remove(keyFile)) },
		"empty file":   func() { must(t, os.WriteFile(certFile, nil, 0o600)) },
		"missing file": func() { must(t, os.Remove(certFile)) },
		"directory":    func() { must(t, os.Remove(certFile)); must(t, os.Mkdir(certFile, 0o700)) },
	} {
		must(t, os.RemoveAll(certFile))
		writeCertificate(t, certFile, keyFile, 3)
		breakIt()
		f.ReloadCertificates()
		if _, serial := f.dialTLS(t); serial != 2 {
			t.Errorf("%s: certificate %d, want 2", name, serial)
		}
	}
	if ok, failed := f.metric(t, `promoserve_tls_reloads_total{result="ok"}`), f.metric(t, `promoserve_tls_reloads_total{result="failed"}`); ok != "1" || failed != "6" {
		t.Errorf("%s reloads succeeded and %s failed, want 1 and 6", ok, failed)
	}
	if !strings.Contains(f.log.String(), "certificate refused") {
		t.Errorf("log:\n%s", f.log)
	}
	fmt.Fprint(old, request("/promotions/"+exampleID)) // the connection from before the reloads
	receive(t, bufio.NewReader(old)).want(t, 200, exampleJSON)
}

// TestExpiryIsWarnedOf checks the expiry of the certificate in the metrics, and
// the warning, at the start and after a reload.
func TestExpiryIsWarnedOf(t *testing.T) {
	const day = 24 * time.Hour
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	var f *fixture
	logged := 0
	for i, c := range []struct {
		left    time.Duration
		warning string
	}{
		{30 * day, ""},
		{6 * day, "certificate expires soon"},
		{8 * day, ""},
		{-time.Minute, "certificate has expired"},
	} {
		for _, reload := range []bool{false, true} {
			expires := time.Now().Add(c.left).Truncate(time.Second)
			writeExpiring(t, certFile, keyFile, int64(i), expires)
			if reload {
				f.ReloadCertificates()
			} else {
				certs, err := web.OpenCertificates(web.CertificateOptions{CertFile: certFile, KeyFile: keyFile})
				must(t, err)
				f, logged = serveSocket(t, httpd.Options{Certificates: certs}), 0
			}
			want := strconv.FormatFloat(float64(expires.Unix()), 'g', -1, 64)
			if got := f.metric(t, "promoserve_certificate_expiry_timestamp_seconds"); got != want {
				t.Errorf("%v left: expires at %s, want %s", c.left, got, want)
			}
			var warning string
			for line := range strings.Lines(f.log.String()[logged:]) {
				if _, text, found := strings.Cut(line, "level=WARN msg=\""); found {
					warning, _, _ = strings.Cut(text, "\"")
				}
			}
			if warning != c.warning {
				t.Errorf("%v left, reloaded %v: warning %q, want %q", c.left, reload, warning, c.warning)
			}
			logged = len(f.log.String())
		}
	}
	if body := serveSocket(t, httpd.Options{}).get(t, "/prometheus").body; strings.Contains(body, "certificate_expiry") {
		t.Error("there is an expiry metric without a certificate")
	}
}

// TestCloseOfUnreadConnectionTimesOut closes the connection of a client that
// reads nothing, from a goroutine other than the reader, like Shutdown does.
// crypto/tls bounds the wait to 5 s.
func TestCloseOfUnreadConnectionTimesOut(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		client, below := net.Pipe()
		server, err := httpd.NewListener(silentListener{conn: below}, certs, nil).Accept()
		must(t, err)
		read := make(chan error)
		go func() {
			_, err := server.Read(make([]byte, 1))
			read <- err
		}()
		must(t, tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake())
		synctest.Wait() // until Read waits for a request
		start := time.Now()
		if err := server.Close(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("Close returns %v after %v, want a timeout after 5s", err, time.Since(start))
		}
		if err := <-read; err == nil {
			t.Error("Read succeeds after Close")
		}
		must(t, client.Close())
	})
}

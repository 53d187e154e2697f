package httpd_test

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// A keyUpdater is the writing side of a TLS 1.3 client. Unlike crypto/tls it can
// send a key update (RFC 8446, sections 4.6.3, 5.2 and 7).
type keyUpdater struct {
	conn   net.Conn // below TLS
	hash   func() hash.Hash
	keyLen int
	secret []byte
	seq    uint64 // of the next record under this secret
}

// Content types (RFC 8446, appendix B.1).
const (
	handshake       = 22
	applicationData = 23
)

func (u *keyUpdater) expand(t *testing.T, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	b, err := hkdf.Expand(u.hash, u.secret, string(info)+label+"\x00", n)
	must(t, err)
	return b
}

// write sends a record with this content type.
func (u *keyUpdater) write(t *testing.T, contentType byte, content []byte) {
	t.Helper()
	block, err := aes.NewCipher(u.expand(t, "key", u.keyLen))
	must(t, err)
	aead, err := cipher.NewGCM(block)
	must(t, err)
	nonce := u.expand(t, "iv", aead.NonceSize())
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(u.seq >> (8 * i))
	}
	u.seq++
	plain := append(bytes.Clone(content), contentType)
	head := binary.BigEndian.AppendUint16([]byte{applicationData, 3, 3}, uint16(len(plain)+aead.Overhead()))
	_, err = u.conn.Write(append(head, aead.Seal(nil, nonce, plain, head)...))
	must(t, err)
}

// update changes the keys of the client and requests an update of the server.
func (u *keyUpdater) update(t *testing.T) {
	t.Helper()
	const keyUpdate, updateRequested = 24, 1
	u.write(t, handshake, []byte{keyUpdate, 0, 0, 1, updateRequested})
	u.secret, u.seq = u.expand(t, "traffic upd", u.hash().Size()), 0
}

func (u *keyUpdater) send(t *testing.T, text string) {
	t.Helper()
	u.write(t, applicationData, []byte(text))
}

// newKeyUpdater performs the handshake of a client on conn. Answers are read
// from r.
func newKeyUpdater(t *testing.T, conn net.Conn) (u *keyUpdater, r *bufio.Reader) {
	t.Helper()
	var log bytes.Buffer
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &log})
	must(t, c.Handshake())
	u = &keyUpdater{conn: conn}
	switch suite := c.ConnectionState().CipherSuite; suite {
	case tls.TLS_AES_128_GCM_SHA256:
		u.hash, u.keyLen = sha256.New, 16
	case tls.TLS_AES_256_GCM_SHA384:
		u.hash, u.keyLen = sha512.New384, 32
	default:
		t.Fatalf("cipher suite %s is not supported by the test", tls.CipherSuiteName(suite))
	}
	_, line, _ := bytes.Cut(log.Bytes(), []byte("CLIENT_TRAFFIC_SECRET_0 "))
	var random, secret string
	_, err := fmt.Sscan(string(line), &random, &secret)
	must(t, err)
	u.secret, err = hex.DecodeString(secret)
	must(t, err)
	return u, bufio.NewReader(c)
}

// TestKeyUpdateHasWriteDeadline requests a key update before the first request,
// and after the write deadline of the last answer has passed.
func TestKeyUpdateHasWriteDeadline(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	f := newFixture(t, httpd.Options{Certificates: certs}, reader.StoreOptions{})
	const writeTimeout = time.Second
	f.SetWriteTimeout(writeTimeout)
	f.listen(t)
	c, _ := f.dial(t)
	u, r := newKeyUpdater(t, c)
	for range 2 {
		u.update(t)
		u.send(t, request("/healthz"))
		receive(t, r).want(t, 200, `{"status":"ok"}`)
		time.Sleep(writeTimeout + 100*time.Millisecond)
	}
}

// TestUnreadKeyUpdateTimesOut requests a key update and does not read the reply.
// The Read of the server must end at its deadline. (crypto/tls returns the error
// of the failed write from the next Write.)
func TestUnreadKeyUpdateTimesOut(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	synctest.Test(t, func(t *testing.T) {
		client, below := net.Pipe()
		server, err := httpd.NewListener(silentListener{conn: below}, certs, nil).Accept()
		must(t, err)
		must(t, server.SetReadDeadline(time.Now().Add(time.Minute)))
		read := make(chan error)
		go func() {
			_, err := server.Read(make([]byte, 1))
			read <- err
		}()
		u, _ := newKeyUpdater(t, client)
		start := time.Now()
		u.update(t)
		if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("Read returns %v after %v, want a timeout after 1m0s", err, time.Since(start))
		}
		must(t, client.Close())
		must(t, below.Close())
	})
}

package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A sniffListener accepts http and https on one port. The first byte of a
// connection tells which of the two it is. Accept does not wait for that byte.
type sniffListener struct {
	net.Listener
	config       *tls.Config
	tlsOnly      bool
	writeTimeout time.Duration
	failed       func(net.Conn, error) // called if a handshake fails
}

func (l *sniffListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffConn{Conn: c, listener: l}, nil
}

// A sniffConn becomes a TLS or a plain connection with its first Read. It sets
// deadlines on the wrapped connection, so they hold for the first byte and for
// the handshake, too.
//
// It hides from fasthttp that it may be TLS: fasthttp would begin a handshake
// before the first byte arrives.
type sniffConn struct {
	net.Conn
	listener *sniffListener
	plain    bool // used by Read only

	secure  atomic.Pointer[tls.Conn] // nil if plain; Shutdown may call Close while Read sets it
	reading atomic.Bool              // TLS writes now belong to Read, not to Write or Close
}

// recordHandshake is the first byte of a TLS connection (RFC 8446, section
// 5.1). No HTTP method begins with it.
const recordHandshake = 0x16

const httpsOnlyBody = `{"error":"this port accepts https only"}` + "\n"

var httpsOnly = fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
	len(httpsOnlyBody), httpsOnlyBody)

func (c *sniffConn) Read(p []byte) (int, error) {
	if c.plain {
		return c.Conn.Read(p)
	}
	c.reading.Store(true)
	defer c.reading.Store(false)
	if t := c.secure.Load(); t != nil {
		return t.Read(p)
	}
	n, err := c.Conn.Read(p)
	switch {
	case n == 0:
		return n, err
	case p[0] == recordHandshake:
		t := tls.Server(&tlsTransport{c.Conn, bytes.Clone(p[:n]), c}, c.listener.config)
		c.secure.Store(t)
		if err := t.Handshake(); err != nil {
			c.listener.failed(c.Conn, err)
			return 0, io.EOF // no request to answer or count
		}
		return t.Read(p)
	case c.listener.tlsOnly:
		_, err := io.WriteString(c.Conn, httpsOnly)
		return 0, errors.Join(err, c.Conn.Close(), io.EOF)
	}
	c.plain = true
	return n, err
}

func (c *sniffConn) Write(p []byte) (int, error) {
	if t := c.secure.Load(); t != nil {
		return t.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *sniffConn) Close() error {
	c.reading.Store(false) // crypto/tls sets a deadline of its own for the closing alert
	if t := c.secure.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// A tlsTransport is the connection below a tls.Conn. Read returns the prefix
// first, which the sniffConn read already.
//
// TLS also writes while it reads: during the handshake, and when the client
// asks for new keys, which it may do at any time. For such a write there is no
// deadline, or that of the last response, which has passed. So Write sets a
// deadline for each of them.
type tlsTransport struct {
	net.Conn
	prefix []byte
	sniff  *sniffConn
}

func (c *tlsTransport) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}

func (c *tlsTransport) Write(p []byte) (int, error) {
	if c.sniff.reading.Load() {
		if err := c.SetWriteDeadline(time.Now().Add(c.sniff.listener.writeTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

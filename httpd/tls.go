package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// A sniffListener takes http and https on the same port. What a connection is
// shows in its first byte, which Accept must not wait for.
type sniffListener struct {
	net.Listener
	config       *tls.Config
	tlsOnly      bool
	writeTimeout time.Duration
	failed       func(net.Conn, error) // hears why a handshake failed
}

func (l *sniffListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sniffConn{Conn: c, listener: l}, nil
}

// A sniffConn becomes TLS or plain with its first Read. The deadlines are
// those of the connection below, so they hold for the first byte and the
// handshake too.
//
// It hides from fasthttp that it may be TLS: fasthttp would begin a handshake
// before the first byte has come.
type sniffConn struct {
	net.Conn
	listener *sniffListener
	plain    bool // only Read touches it

	secure  atomic.Pointer[tls.Conn] // Shutdown closes while Read may set it
	reading atomic.Bool              // what is written meanwhile is not of Write or Close
}

// recordHandshake is how a TLS connection begins (RFC 8446, section 5.1), and
// no method of HTTP does.
const recordHandshake = 0x16

const httpsOnly = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 40\r\nConnection: close\r\n\r\n" +
	`{"error":"this port speaks https alone"}`

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
		t := tls.Server(&belowConn{c.Conn, bytes.Clone(p[:n]), c}, c.listener.config)
		c.secure.Store(t)
		if err := t.Handshake(); err != nil {
			c.listener.failed(c.Conn, err)
			return 0, io.EOF // there is nobody to answer to, and no request to count
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
	c.reading.Store(false) // TLS has a deadline for what it writes to say so
	if t := c.secure.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// A belowConn is what TLS reads from and writes to. It gives back first what
// was read before.
//
// TLS also writes while it reads: in the handshake, and where a client asks for
// new keys, which it may do at any time. For that no deadline holds but the
// write deadline of the last answer, which has passed, or none. So each such
// write gets one of its own.
type belowConn struct {
	net.Conn
	prefix []byte
	above  *sniffConn
}

func (c *belowConn) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}

func (c *belowConn) Write(p []byte) (int, error) {
	if c.above.reading.Load() {
		if err := c.SetWriteDeadline(time.Now().Add(c.above.listener.writeTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

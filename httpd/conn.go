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

// A conn is a connection as fasthttp sees it. With its first Read it becomes a TLS
// or a plain connection. It sets deadlines on the wrapped connection, so they hold
// for the first byte and for the handshake, too.
//
// It hides from fasthttp that it may be TLS: fasthttp would begin a handshake
// before the first byte arrives.
type conn struct {
	net.Conn
	listener *listener

	// Used by Read only, and by the handler of a request.
	kind     connKind
	received bool // a byte of a request has arrived
	lines    lineChecker

	secure  atomic.Pointer[tls.Conn] // nil if plain; Shutdown may call Close while Read sets it
	reading atomic.Bool              // TLS writes now belong to Read, not to Write or Close
	lingers atomic.Bool              // Close waits for the client
	closed  atomic.Bool
}

type connKind uint8

const (
	connNew    connKind = iota // no byte has arrived
	connPlain                  // http
	connSecure                 // https
)

// errLineEnd reports a line of a header that ends with LF alone. RFC 9112, section
// 2.2, allows a server to accept it. fasthttp does not, and would wait for more.
var errLineEnd = errors.New("a line does not end with CR LF")

func (c *conn) Read(p []byte) (int, error) {
	if c.kind == connPlain && c.lines.done {
		return c.Conn.Read(p)
	}
	n, err := c.read(p)
	if n > 0 {
		c.received = true
		if !c.lines.check(p[:n]) {
			return 0, errLineEnd
		}
	}
	return n, err
}

// read reads a request that is possibly the first one.
func (c *conn) read(p []byte) (int, error) {
	if c.kind == connPlain {
		return c.Conn.Read(p)
	}
	c.reading.Store(true)
	defer c.reading.Store(false)
	if t := c.secure.Load(); t != nil {
		return t.Read(p)
	}
	n, err := c.Conn.Read(p)
	switch config := c.listener.config; {
	case n == 0:
		return n, err
	case p[0] == recordHandshake && config != nil:
		c.kind = connSecure
		t := tls.Server(&tlsTransport{c.Conn, bytes.Clone(p[:n]), c}, config)
		c.secure.Store(t)
		if err := t.Handshake(); err != nil {
			c.listener.failed(c.Conn, err)
			return 0, io.EOF // no request to answer or count
		}
		return t.Read(p)
	case c.listener.tlsOnly:
		_, err := io.WriteString(c.Conn, httpsOnly)
		c.lingers.Store(true)
		return 0, errors.Join(err, c.Close(), io.EOF)
	}
	c.kind = connPlain
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	if t := c.secure.Load(); t != nil {
		return t.Write(p)
	}
	return c.Conn.Write(p)
}

// Close ends the connection. If linger was called, it first waits for the client.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if c.lingers.Load() {
		c.awaitClient()
	}
	c.listener.clients.leave(c.RemoteAddr())
	c.reading.Store(false) // crypto/tls sets a deadline of its own for the closing alert
	if t := c.secure.Load(); t != nil {
		return t.Close()
	}
	return c.Conn.Close()
}

// linger makes Close wait until the client has sent its request. Otherwise the
// kernel resets the connection of a client that still sends, and the client may
// never read the answer.
func (c *conn) linger() { c.lingers.Store(true) }

// awaitClient ends the answers and discards the input until the client closes the
// connection.
func (c *conn) awaitClient() {
	if !c.listener.lingering.TryAcquire(1) {
		return
	}
	defer c.listener.lingering.Release(1)
	if t := c.secure.Load(); t != nil {
		if t.CloseWrite() != nil {
			return
		}
	}
	if c.SetReadDeadline(time.Now().Add(c.listener.lingerTimeout)) != nil {
		return
	}
	if socket, ok := c.Conn.(interface{ CloseWrite() error }); ok && socket.CloseWrite() != nil {
		return
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(c.Conn, maxLinger)) // ends with the connection or the deadline
}

// A lineChecker checks that the lines of a header end with CR LF. The zero value
// expects the first line.
type lineChecker struct {
	done bool // the header has ended
	last byte // of the text so far
	text bool // the current line is not empty
}

// check reports whether the lines in the next part of the header are valid. Text
// after the header does not matter.
func (l *lineChecker) check(part []byte) bool {
	for !l.done && len(part) > 0 {
		n := bytes.IndexByte(part, '\n')
		if n < 0 {
			l.last, l.text = part[len(part)-1], l.text || len(part) > 1 || part[0] != '\r'
			return true
		}
		if n > 0 {
			l.last = part[n-1]
		}
		if l.last != '\r' {
			return false
		}
		l.done = n <= 1 && !l.text
		l.last, l.text = '\n', false
		part = part[n+1:]
	}
	return true
}

package httpd

import (
	"fmt"
	"net"
	"time"
)

// recordHandshake is the first byte of a TLS connection (RFC 8446, section
// 5.1). No HTTP method begins with it.
const recordHandshake = 0x16

const httpsOnlyBody = `{"error":"this port accepts https only"}` + "\n"

var httpsOnly = fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
	len(httpsOnlyBody), httpsOnlyBody)

// A tlsTransport is the connection below a tls.Conn. Read returns the prefix
// first, which the conn read already.
//
// TLS also writes while it reads: during the handshake, and when the client
// asks for new keys, which it may do at any time. For such a write there is no
// deadline, or that of the last response, which has passed. So Write sets a
// deadline for each of them.
type tlsTransport struct {
	net.Conn
	prefix []byte
	conn   *conn
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
	if c.conn.reading.Load() {
		if err := c.SetWriteDeadline(time.Now().Add(c.conn.listener.writeTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

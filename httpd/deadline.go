package httpd

import (
	"net"
	"time"
)

// A deadlineListener wraps its connections in deadlineConns.
type deadlineListener struct{ net.Listener }

func (l deadlineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: c}, nil
}

// deadlineSlack is how much earlier than requested a deadline may expire.
const deadlineSlack = time.Second

// A deadlineConn skips most of the deadlines that fasthttp sets. fasthttp sets
// three for each request, and each one moves a timer. A deadlineConn passes a
// deadline on only before it reads or writes, and only if the deadline of the
// connection differs by deadlineSlack or more. That leaves two for each second
// of requests, which TestDeadlineConnSkipsDeadlines counts.
//
// A new deadline does not affect a Read or Write that is already waiting, and
// only the goroutine that reads and writes may set one. Any goroutine may call
// Close.
type deadlineConn struct {
	net.Conn
	read, write deadline
}

func (c *deadlineConn) SetReadDeadline(t time.Time) error {
	c.read.want = t
	return nil
}

func (c *deadlineConn) SetWriteDeadline(t time.Time) error {
	c.write.want = t
	return nil
}

func (c *deadlineConn) SetDeadline(t time.Time) error {
	c.read.want, c.write.want = t, t
	return nil
}

func (c *deadlineConn) Read(p []byte) (int, error) {
	if c.read.move() {
		if err := c.Conn.SetReadDeadline(c.read.set); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

func (c *deadlineConn) Write(p []byte) (int, error) {
	if c.write.move() {
		if err := c.Conn.SetWriteDeadline(c.write.set); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// A deadline is the read or the write deadline of a connection. A zero time is
// no deadline.
type deadline struct {
	want time.Time // as requested
	set  time.Time // of the connection: want, or up to deadlineSlack before it
}

// move sets set to want unless the two are close enough, and reports whether it
// did.
func (d *deadline) move() bool {
	if late := d.want.Sub(d.set); late >= 0 && late < deadlineSlack && d.want.IsZero() == d.set.IsZero() {
		return false
	}
	d.set = d.want
	return true
}

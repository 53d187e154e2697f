package httpd

import (
	"net"
	"time"
)

// A deadlineListener spares its connections most of the deadlines that
// fasthttp sets, three for each request.
type deadlineListener struct{ net.Listener }

func (l deadlineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &deadlineConn{Conn: c}, nil
}

// deadlineSlack is how much earlier than it was set a deadline may come.
const deadlineSlack = time.Second

// A deadlineConn passes a deadline on only when it is about to read or write,
// and only if the one that the connection has is not nearly the same: two of
// them for each second of requests, as TestDeadlinesSpared has it, in place of
// three for each request, which each move a timer.
//
// A deadline that is set does not hold for a Read or Write under way, and only
// the goroutine that reads and writes may set one. Close is for all.
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

// A deadline is one side of a connection. Zero times are none.
type deadline struct {
	want time.Time
	set  time.Time // what the connection has: want, or up to deadlineSlack before it
}

// move reports whether set had to be moved to want.
func (d *deadline) move() bool {
	if late := d.want.Sub(d.set); late >= 0 && late < deadlineSlack && d.want.IsZero() == d.set.IsZero() {
		return false
	}
	d.set = d.want
	return true
}

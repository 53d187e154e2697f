package httpd

import (
	"net"
	"time"
)

// A deadlineListener gives its connections timeouts, in place of fasthttp,
// which would move three timers for each request.
type deadlineListener struct {
	net.Listener
	timeouts timeouts
}

// timeouts are how long a client may take for something.
type timeouts struct {
	read  time.Duration // from the start of a connection, or about the first byte of a later request, to the end of the request
	write time.Duration // for the kernel to take an answer; a long one is written in two parts, which may take as long each
	idle  time.Duration // from an answer to the first byte of the next request
}

func (l deadlineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newDeadlineConn(c, l.timeouts), nil
}

// deadlineSlack is how much earlier than a timeout says a deadline may come.
const deadlineSlack = time.Second

// A deadlineConn is a connection with timeouts for a server that reads a
// request to its end and then writes the answer. For a request that comes in
// one piece it reads the time once, and it moves a deadline only if the one
// that the connection below has is not nearly the same: two for each second of
// requests, as TestDeadlinesSpared has it.
//
// Only one goroutine may read and write. Close is for all.
type deadlineConn struct {
	net.Conn
	timeouts timeouts

	// answered is when the last Write began. Behind "100 Continue" too it is
	// the idle timeout that holds for the first byte.
	answered time.Time
	reading  bool      // some of a request has come since
	began    time.Time // when its second Read began; zero before

	readDeadline, writeDeadline time.Time // of the connection below
}

func newDeadlineConn(c net.Conn, t timeouts) *deadlineConn {
	return &deadlineConn{Conn: c, timeouts: t, reading: true, began: time.Now()}
}

func (c *deadlineConn) Read(p []byte) (int, error) {
	want := c.answered.Add(c.timeouts.idle)
	if c.reading {
		if c.began.IsZero() {
			c.began = time.Now()
		}
		want = c.began.Add(c.timeouts.read)
	}
	if mustMove(&c.readDeadline, want) {
		if err := c.SetReadDeadline(want); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	c.reading = c.reading || n > 0
	return n, err
}

func (c *deadlineConn) Write(p []byte) (int, error) {
	c.answered, c.reading, c.began = time.Now(), false, time.Time{}
	if want := c.answered.Add(c.timeouts.write); mustMove(&c.writeDeadline, want) {
		if err := c.SetWriteDeadline(want); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// mustMove reports whether a deadline is not nearly what it should be, and
// then sets it to that.
func mustMove(deadline *time.Time, want time.Time) bool {
	if late := want.Sub(*deadline); late >= 0 && late < deadlineSlack {
		return false
	}
	*deadline = want
	return true
}

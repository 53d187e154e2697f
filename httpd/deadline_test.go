package httpd_test

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"promostore/httpd"
)

// A timedConn keeps the deadlines that it was given, and how often. A Read
// gives all that was asked for.
type timedConn struct {
	net.Conn
	read, write time.Time
	calls       int
}

func (c *timedConn) SetReadDeadline(t time.Time) error {
	c.read = t
	c.calls++
	return nil
}

func (c *timedConn) SetWriteDeadline(t time.Time) error {
	c.write = t
	c.calls++
	return nil
}

func (c *timedConn) Read(p []byte) (int, error)  { return len(p), nil }
func (c *timedConn) Write(p []byte) (int, error) { return len(p), nil }

// The timeouts of every server.
const (
	readTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	idleTimeout  = 90 * time.Second
)

// TestDeadlines takes a connection through its life.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inner timedConn
		c := httpd.NewDeadlineConn(&inner)
		start := time.Now()
		read := func(what string, n int, deadline time.Time) {
			t.Helper()
			_, err := c.Read(make([]byte, n))
			must(t, err)
			wantDeadline(t, what, inner.read, deadline)
		}
		write := func(what string) (now time.Time) {
			t.Helper()
			now = time.Now()
			_, err := c.Write([]byte("x"))
			must(t, err)
			wantDeadline(t, what, inner.write, now.Add(writeTimeout))
			return now
		}
		time.Sleep(3 * time.Second)
		read("nothing of the first request", 0, start.Add(readTimeout))
		time.Sleep(3 * time.Second)
		read("a part of it", 1, start.Add(readTimeout))
		time.Sleep(3 * time.Second)
		read("another", 1, start.Add(readTimeout))
		answered := write("an answer")
		read("nothing behind it", 0, answered.Add(idleTimeout))
		time.Sleep(60 * time.Second)
		read("the start of the second request", 1, answered.Add(idleTimeout))
		more := time.Now()
		read("nothing more of it", 0, more.Add(readTimeout))
		time.Sleep(5 * time.Second)
		read("the end of it", 1, more.Add(readTimeout))
		write("the first part of an answer")
		time.Sleep(5 * time.Second)
		answered = write("the second part")
		time.Sleep(5 * time.Second)
		read("all of the third request", 1, answered.Add(idleTimeout))
		time.Sleep(5 * time.Second)
		answered = write("an answer that took long")
		read("all of the fourth request", 1, answered.Add(idleTimeout))
	})
}

func wantDeadline(t *testing.T, what string, got, want time.Time) {
	t.Helper()
	if early := want.Sub(got); early < 0 || early >= httpd.DeadlineSlack {
		t.Errorf("%s: %v before %v", what, early, want)
	}
}

// TestDeadlinesSpared serves requests a millisecond apart.
func TestDeadlinesSpared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inner timedConn
		c := httpd.NewDeadlineConn(&inner)
		const requests = 10_000
		for range requests {
			_, err := c.Read(make([]byte, 1))
			must(t, err)
			_, err = c.Write([]byte("x"))
			must(t, err)
			time.Sleep(time.Millisecond)
		}
		// And one each for the connection, and for the first request.
		if want := 2*requests/1000 + 1; inner.calls != want {
			t.Errorf("%d deadlines set, want %d", inner.calls, want)
		}
	})
}

package httpd_test

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"promostore/httpd"
)

// A deadlineRecorder records the deadlines of a connection and counts them.
type deadlineRecorder struct {
	net.Conn
	read, write time.Time
	calls       int
}

func (c *deadlineRecorder) SetReadDeadline(t time.Time) error {
	c.read = t
	c.calls++
	return nil
}

func (c *deadlineRecorder) SetWriteDeadline(t time.Time) error {
	c.write = t
	c.calls++
	return nil
}

func (c *deadlineRecorder) Read(p []byte) (int, error)  { return len(p), nil }
func (c *deadlineRecorder) Write(p []byte) (int, error) { return len(p), nil }

// TestDeadlineConnKeepsDeadlines sets random deadlines. Each Read and Write
// must happen under the latest one, or up to DeadlineSlack before it.
func TestDeadlineConnKeepsDeadlines(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 0))
	now := time.Now()
	var inner deadlineRecorder
	c := httpd.NewDeadlineConn(&inner)
	var read, write time.Time
	for range 100_000 {
		at := now.Add(time.Duration(r.Int64N(int64(4 * time.Second))))
		if r.IntN(8) == 0 {
			at = time.Time{}
		}
		switch r.IntN(6) {
		case 0:
			read = at
			must(t, c.SetReadDeadline(at))
		case 1:
			write = at
			must(t, c.SetWriteDeadline(at))
		case 2:
			read, write = at, at
			must(t, c.SetDeadline(at))
		case 3:
			_, err := c.Write([]byte("x"))
			must(t, err)
			wantDeadline(t, inner.write, write)
		default:
			_, err := c.Read(make([]byte, 1))
			must(t, err)
			wantDeadline(t, inner.read, read)
		}
	}
}

func wantDeadline(t *testing.T, got, want time.Time) {
	t.Helper()
	if early := want.Sub(got); got.IsZero() != want.IsZero() || early < 0 || early >= httpd.DeadlineSlack {
		t.Fatalf("the deadline is %v before %v", early, want)
	}
}

// TestDeadlineConnSkipsDeadlines sets the deadlines of fasthttp for requests
// that are a millisecond apart.
func TestDeadlineConnSkipsDeadlines(t *testing.T) {
	var inner deadlineRecorder
	c := httpd.NewDeadlineConn(&inner)
	now := time.Now()
	const requests = 10_000
	for i := range requests {
		at := now.Add(time.Duration(i) * time.Millisecond)
		must(t, c.SetReadDeadline(at.Add(httpd.IdleTimeout)))
		_, err := c.Read(make([]byte, 1))
		must(t, err)
		must(t, c.SetReadDeadline(at.Add(httpd.ReadTimeout)))
		must(t, c.SetWriteDeadline(at.Add(httpd.WriteTimeout)))
		_, err = c.Write([]byte("x"))
		must(t, err)
	}
	if want := 2 * requests / 1000; inner.calls != want {
		t.Errorf("%d deadlines set, want %d", inner.calls, want)
	}
}

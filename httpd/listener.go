package httpd

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a listener waits after an Accept that failed for want of something.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second

	// Shortages that are less apart are one, and are logged once: with each
	// connection that ends, one can be accepted again.
	acceptEpisode = time.Minute
)

// spareDescriptors is how many are not for connections, so that the next
// generation can be opened whatever clients do.
const spareDescriptors = 64

// maxConnections is what the limit on descriptors leaves.
func maxConnections() int {
	const most = 256 << 10 // what fasthttp has for a default
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > most {
		return most
	}
	n := int(limit.Cur)
	return max(n-spareDescriptors, n/2, 1)
}

// A patientListener goes on accepting when descriptors or memory have run out
// for a while, which fasthttp takes for the end of the listener. Its
// connections are those of the listener below. Only one goroutine may Accept.
type patientListener struct {
	net.Listener
	figures *figures
	log     *slog.Logger
	perIP   bool // there is a limit on the connections of an address

	lastShortage time.Time

	closing sync.Once
	closed  chan struct{}
}

func newPatientListener(ln net.Listener, f *figures, log *slog.Logger, perIP bool) *patientListener {
	return &patientListener{Listener: ln, figures: f, log: log, perIP: perIP, closed: make(chan struct{})}
}

func (l *patientListener) Accept() (net.Conn, error) {
	// fasthttp does not count a connection that is one too many for its
	// address. But it says of every other one that it is new before it comes
	// back for the next.
	if l.perIP && l.figures.offered.Swap(false) {
		l.figures.rejectedPerIP.Add(1)
	}
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		c, err := l.Listener.Accept()
		if err == nil {
			l.figures.offered.Store(true)
			return c, nil
		}
		if !isShortage(err) {
			return nil, err
		}
		l.figures.acceptErrors.Add(1)
		if time.Since(l.lastShortage) > acceptEpisode {
			l.log.Error("connections wait to be accepted", "error", err)
		}
		l.lastShortage = time.Now()
		select {
		case <-time.After(pause):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close also ends an Accept that pauses.
func (l *patientListener) Close() error {
	l.closing.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// isShortage reports whether err says that Accept may work later.
func isShortage(err error) bool {
	for _, target := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

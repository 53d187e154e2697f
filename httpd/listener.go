package httpd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"promostore/web"
)

// A listener accepts http and, with a certificate, https on one port. The first
// byte of a connection tells which of the two it is. Accept does not wait for that
// byte.
type listener struct {
	net.Listener
	config       *tls.Config // nil: http only
	tlsOnly      bool
	writeTimeout time.Duration
	failed       func(net.Conn, error) // called if a handshake fails
	log          *slog.Logger
	clients      clientLimit

	lingering     *semaphore.Weighted // connections whose Close waits for the client
	lingerTimeout time.Duration
}

// wrapListener wraps ln, and with it every connection that ln accepts, for
// fasthttp. The listeners, from the outermost to the socket, are:
//
//	listener, web.RetryListener, *net.TCPListener
//
// and the connections:
//
//	https   conn, tls.Conn, tlsTransport, *net.TCPConn
//	http    conn, *net.TCPConn
//
// The reasons for this order are:
//
//   - The web.RetryListener is next to the socket because only the errors of the
//     socket distinguish a shortage of descriptors from a closed listener. It
//     does not wrap connections, so a request does not pay for it.
//   - The conn is outside of tls.Conn because fasthttp must not know that a
//     connection may be TLS: it would begin a handshake before the first byte
//     arrives. Deadlines pass through to the socket, so they hold for that byte
//     and for the handshake, too.
//   - The conn is the outermost, so that a handler that gets it from fasthttp can
//     make it linger. That is why clientLimit counts the connections of an address
//     and not fasthttp, which would wrap them.
//   - The tlsTransport is inside of tls.Conn because it replays the bytes that
//     the conn read, and sets deadlines for the writes that TLS makes while it
//     reads.
func (s *Server) wrapListener(ln net.Listener) net.Listener {
	l := &listener{
		Listener:      web.NewRetryListener(ln, &s.metrics.acceptErrors, s.opts.Logger),
		tlsOnly:       s.opts.TLSOnly,
		writeTimeout:  s.fast.WriteTimeout,
		failed:        s.handshakeFailed,
		log:           s.opts.Logger,
		clients:       clientLimit{most: s.opts.MaxConnsPerIP},
		lingering:     semaphore.NewWeighted(maxLingering),
		lingerTimeout: s.lingerTimeout,
	}
	if s.opts.Certificates != nil {
		l.config = s.opts.Certificates.Config()
	}
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.clients.enter(c.RemoteAddr()) {
			return &conn{Conn: c, listener: l}, nil
		}
		l.log.Debug("connection refused, the address has too many", "client", c.RemoteAddr().String())
		_, _ = io.WriteString(c, tooManyConnections) // the buffer of a new socket has room
		_ = c.Close()
	}
}

const tooManyConnectionsBody = `{"error":"too many connections from your address"}` + "\n"

var tooManyConnections = fmt.Sprintf("HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: %s\r\nConnection: close\r\n\r\n%s",
	len(tooManyConnectionsBody), retryAfter, tooManyConnectionsBody)

// A clientLimit bounds the connections of each IP address.
type clientLimit struct {
	most int // 0: no limit

	mu   sync.Mutex
	open map[netip.Addr]int // connections of each address that has any
}

// enter counts a new connection of an address, and reports whether it is allowed.
func (l *clientLimit) enter(address net.Addr) bool {
	client, ok := address.(*net.TCPAddr)
	if l.most == 0 || !ok {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ip := client.AddrPort().Addr().Unmap()
	if l.open[ip] >= l.most {
		return false
	}
	if l.open == nil {
		l.open = map[netip.Addr]int{}
	}
	l.open[ip]++
	return true
}

// leave counts the end of a connection that was allowed.
func (l *clientLimit) leave(address net.Addr) {
	client, ok := address.(*net.TCPAddr)
	if l.most == 0 || !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ip := client.AddrPort().Addr().Unmap()
	if l.open[ip]--; l.open[ip] == 0 {
		delete(l.open, ip)
	}
}

// ListenConfig returns the configuration of a TCP listener for a Server. It bounds
// the bytes that the kernel holds for each connection. They are memory of the
// process: its cgroup counts them. By default, the kernel holds up to 4 MiB for a
// client that does not read, and the server takes its answer for sent; it holds as
// many bytes that the server has not read. The limits do not slow down a client
// that reads, because bytes in flight do not count, and let one send 640 KB/s
// over 100 ms.
func ListenConfig() net.ListenConfig {
	config := net.ListenConfig{
		Control: func(_, _ string, socket syscall.RawConn) error {
			var result error
			err := socket.Control(func(fd uintptr) { result = limitBuffers(int(fd)) })
			return errors.Join(err, result)
		},
	}
	// Connections of a multipath listener do not inherit the options.
	config.SetMultipathTCP(false)
	return config
}

// limitBuffers sets the limits of ListenConfig for a socket, from which connections
// inherit them.
func limitBuffers(socket int) error {
	return errors.Join(
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)),
		os.NewSyscallError("setsockopt", unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUF, maxUnread)),
	)
}

package httpd

import (
	"errors"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"promostore/web"
)

// wrapListener wraps ln, and with it every connection that ln accepts, for
// fasthttp. The listeners, from the outermost to the socket, are:
//
//	with a certificate      sniffListener, web.RetryListener, *net.TCPListener
//	without one             web.RetryListener, *net.TCPListener
//
// and the connections:
//
//	https                   sniffConn, tls.Conn, tlsTransport, *net.TCPConn
//	http on the same port   sniffConn, *net.TCPConn
//	without a certificate   *net.TCPConn
//
// fasthttp puts a perIPConn around each of them if MaxConnsPerIP is set. The
// reasons for this order are:
//
//   - The web.RetryListener is next to the socket because only the errors of the
//     socket distinguish a shortage of descriptors from a closed listener. It
//     does not wrap connections, so a request does not pay for it.
//   - The sniffConn is outside of tls.Conn because fasthttp must not know that
//     a connection may be TLS: it would begin a handshake before the first byte
//     arrives. Deadlines pass through to the socket, so they hold for that byte
//     and for the handshake, too.
//   - The tlsTransport is inside of tls.Conn because it replays the bytes that
//     the sniffConn read, and sets deadlines for the writes that TLS makes while
//     it reads.
func (s *Server) wrapListener(ln net.Listener) net.Listener {
	ln = web.NewRetryListener(ln, &s.metrics.acceptErrors, s.opts.Logger)
	if s.opts.Certificates == nil {
		return ln
	}
	return &sniffListener{
		Listener:     ln,
		config:       s.opts.Certificates.Config(),
		tlsOnly:      s.opts.TLSOnly,
		writeTimeout: s.fast.WriteTimeout,
		failed:       s.handshakeFailed,
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

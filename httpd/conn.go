package httpd

import "net"

// wrapListener wraps ln, and with it every connection that ln accepts, for
// fasthttp. Outermost first, the layers are:
//
//	            with a certificate       without one
//	fasthttp    perIPConn, if MaxConnsPerIP is set
//	conn        sniffConn                deadlineConn
//	            tls.Conn, tlsTransport   –
//	socket      *net.TCPConn             *net.TCPConn
//	listener    sniffListener            deadlineListener
//	            retryListener            retryListener
//	socket      *net.TCPListener         *net.TCPListener
//
// The reasons for this order:
//
//   - The retryListener is next to the socket because only the errors of the
//     socket tell a shortage from the end of a listener. It does not wrap
//     connections, so it costs a request nothing.
//   - The sniffConn covers tls.Conn because fasthttp must not know that a
//     connection may be TLS: fasthttp would begin a handshake before the first
//     byte arrives. Its deadlines are those of the socket, so they hold for
//     that byte and for the handshake, too.
//   - The tlsTransport is below tls.Conn because it returns the byte that the
//     sniffConn read, and sets deadlines for the writes that TLS makes while it
//     reads. Plain connections skip both layers.
//   - The deadlineConn is never below TLS. It may be used by one goroutine at a
//     time, but Close of a tls.Conn sets a write deadline from any goroutine.
//
// Without a certificate there is nothing to sniff, so a connection has one
// layer.
func (s *Server) wrapListener(ln net.Listener) net.Listener {
	ln = newRetryListener(ln, &s.metrics.acceptErrors, s.opts.Logger)
	if s.opts.Certificates == nil {
		return deadlineListener{ln}
	}
	return &sniffListener{
		Listener:     ln,
		config:       s.opts.Certificates.Config(),
		tlsOnly:      s.opts.TLSOnly,
		writeTimeout: s.fast.WriteTimeout,
		failed:       s.handshakeFailed,
	}
}

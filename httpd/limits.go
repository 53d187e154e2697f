package httpd

import (
	"time"

	"golang.org/x/sys/unix"
)

// Limits of every client. They are not options: a request is 200 bytes and its
// response 400, so no real client needs more.
const (
	// readTimeout bounds reading a request. It starts with the connection, or
	// with the first byte of a later request.
	readTimeout = 10 * time.Second

	// writeTimeout bounds the time until the kernel has accepted the last
	// byte of a response.
	writeTimeout = 10 * time.Second

	// idleTimeout bounds the time from a response to the first byte of the
	// next request. It is longer than proxies wait, so that the proxy closes
	// the connection first and no request meets a closed one.
	idleTimeout = 90 * time.Second

	maxHeaderBytes = 8 << 10 // request line and headers
	maxBodyBytes   = 1 << 20 // twice the longest batch in the longest spelling
)

// spareDescriptors is the number of file descriptors that connections leave
// free, so that the next generation can always be opened.
const spareDescriptors = 64

// maxConnections returns the number of connections that the limit on open
// files allows.
func maxConnections() int {
	const most = 256 << 10 // fasthttp's default
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > most {
		return most
	}
	n := int(limit.Cur)
	return max(n-spareDescriptors, n/2, 1)
}

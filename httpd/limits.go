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
	maxLookupIDs   = 10_000  // IDs in a batch
	maxIDLen       = 1 << 10 // bytes of an ID in a batch; the longest spelling has 45
)

// Limits of all lookups together, which a lookup waits for.
const (
	// lookupMemory bounds the bodies that outgrow the first bodyLen bytes, and
	// the answers until they have been sent. A lookup of 1,000 IDs needs 200 KiB,
	// one of 10,000 IDs 2 MiB.
	lookupMemory = 64 << 20

	// lookupsPerProc bounds the lookups that are parsed and looked up at a time,
	// for each processor. More do not finish sooner; they delay other requests,
	// because a lookup of 10,000 IDs takes a processor for 2 ms.
	lookupsPerProc = 4

	// lookupWait bounds the wait for either limit. Then the answer is 503.
	lookupWait = 2 * time.Second
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

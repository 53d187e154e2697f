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
	// the connection first and no request meets a closed one. Google's load
	// balancers wait for 600 s and recommend 620 s.
	idleTimeout = 10*time.Minute + 30*time.Second

	// lingerTimeout bounds the time that a client may go on sending after it was
	// answered before the end of its request, and maxLinger the bytes. More than
	// maxLingering connections do not linger.
	lingerTimeout = 5 * time.Second
	maxLinger     = 16 << 20
	maxLingering  = 256

	maxUnsent      = 32 << 10 // bytes of responses in the kernel that it has not sent
	maxUnread      = 64 << 10 // bytes of requests in the kernel that the server has not read
	maxHeaderBytes = 8 << 10  // request line and headers
	maxBodyBytes   = 1 << 20  // twice the longest batch in the longest spelling
	maxLookupIDs   = 10_000   // IDs in a batch
	maxIDLen       = 1 << 10  // bytes of an ID in a batch; the longest spelling has 45
)

// Limits of all lookups together, which a lookup waits for.
const (
	// maxLookupMemory bounds the bodies that outgrow the first bodyLen bytes, and
	// the answers until they have been sent. A lookup of 1,000 IDs needs 200 KiB,
	// one of 10,000 IDs 2 MiB. A server with little memory has less; see
	// lookupMemory.
	maxLookupMemory = 64 << 20
	minLookupMemory = 8 << 20 // the longest body and its answer take 6 MiB

	// lookupsPerProc bounds the lookups that are parsed and looked up at a time,
	// for each processor. More do not finish sooner; they delay other requests,
	// because a lookup of 10,000 IDs takes a processor for 2 ms.
	lookupsPerProc = 4

	// lookupWait bounds the wait for either limit. Then the answer is 503.
	lookupWait = 2 * time.Second

	// maxWaiting bounds the lookups that wait for memory. Meanwhile the kernel
	// holds up to 128 KiB of the body of each.
	maxWaiting = 256
)

// lookupMemory returns the memory of all lookups for a server that may use total
// bytes.
func lookupMemory(total int64) int64 {
	return max(min(total/8, maxLookupMemory), minLookupMemory)
}

// connectionMemory is the memory of a connection and its goroutine outside of
// lookups: 20 KiB while it is idle, of which the buffers of fasthttp take 12.
const connectionMemory = 24 << 10

// spareDescriptors returns how many of the file descriptors connections leave
// free, so that the next generation can always be opened. A shard needs up to two
// in each of three generations: the live one, the one before it while its last
// requests end, and the next.
func spareDescriptors(files int) int { return max(files/8, min(64, files/2)) }

// maxConnections returns the number of connections that the limit on open files
// allows, and half of the memory, of which the server may use total bytes.
func maxConnections(total int64) int {
	const most = 256 << 10 // fasthttp's default
	n := int(max(min(total/2/connectionMemory, most), 1))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > most {
		return n
	}
	files := int(limit.Cur)
	return min(n, max(files-spareDescriptors(files), 1))
}

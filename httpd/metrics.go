package httpd

import (
	"sync/atomic"
	"time"

	"promostore/page"
)

// Values of the label endpoint.
const (
	endpointPromotion = iota
	endpointLookup
	endpointOther
	numEndpoints
)

var endpointNames = [numEndpoints]string{"promotion", "lookup", "other"}

// Results of looking up an ID.
const (
	lookupFound = iota
	lookupNotFound
	lookupMalformed
	lookupError
	lookupBusy    // too many reads of the disk are waiting
	lookupForeign // another server has the shard of the ID
	numLookups
)

var lookupNames = [numLookups]string{"found", "not_found", "malformed", "error", "busy", "foreign"}

// Results of a change of generations.
const (
	swapLive = iota
	swapRefused
	swapFault
	numSwaps
)

var swapNames = [numSwaps]string{"live", "refused", "fault"}

// Results of reloading the certificate.
const (
	resultOK = iota
	resultFailed
	numResults
)

var resultNames = [numResults]string{"ok", "failed"}

// codes lists the status codes of answers, the most frequent first. The last
// entry counts every other code; it should remain 0.
var codes = [...]int{200, 404, 304, 400, 405, 408, 413, 415, 421, 422, 429, 431, 500, 503, 0}

// codeIndex returns the index of code in codes.
func codeIndex(code int) int {
	for i, c := range codes[:len(codes)-1] {
		if c == code {
			return i
		}
	}
	return len(codes) - 1
}

// bounds are the upper bounds of the histogram buckets.
var bounds = [...]time.Duration{
	1 * time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond,
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second,
}

// metrics holds the counters of a Server. A request for a promotion writes to
// one shard and to nothing else.
//
// The histogram is our own because that of the metrics library locks a
// mutex for each request.
type metrics struct {
	_      [128]byte // every request reads the fields before metrics; see shard
	shards [64]shard

	swaps       [numSwaps]atomic.Uint64
	openNanos   atomic.Int64 // of the generation that became live last
	verifyNanos atomic.Int64 // of the same generation
	pinErrors   atomic.Uint64
	deletions   atomic.Uint64 // of the file of a live generation
	tlsReloads  [numResults]atomic.Uint64
	panics      atomic.Uint64

	lookupsRefused atomic.Uint64

	acceptErrors    atomic.Uint64
	handshakeErrors atomic.Uint64
}

// A shard is the part of the metrics to which one connection in 64 writes.
type shard struct {
	requests [numEndpoints][len(codes)]atomic.Uint64
	buckets  [numEndpoints][len(bounds) + 1]atomic.Uint64
	nanos    [numEndpoints]atomic.Uint64
	lookups  [numLookups]atomic.Uint64
	_        [128]byte // keeps shards apart by two cache lines, which processors fetch as a pair
}

func (m *metrics) shard(connID uint64) *shard { return &m.shards[connID%uint64(len(m.shards))] }

// observe counts a request and its duration.
func (s *shard) observe(endpoint, code int, took time.Duration) {
	s.requests[endpoint][codeIndex(code)].Add(1)
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	s.buckets[endpoint][i].Add(1)
	s.nanos[endpoint].Add(uint64(max(took, 0)))
}

// sum adds one counter up over all shards.
func (m *metrics) sum(counter func(*shard) *atomic.Uint64) (n uint64) {
	for i := range m.shards {
		n += counter(&m.shards[i]).Load()
	}
	return n
}

// totals returns the counters of the requests for promotions, alone or in batches.
// Others, such as probes, would hide them.
func (m *metrics) totals() page.Totals {
	t := page.Totals{Buckets: make([]uint64, len(bounds)+1)}
	for i := range m.shards {
		s := &m.shards[i]
		for _, endpoint := range [...]int{endpointPromotion, endpointLookup} {
			for c, code := range codes {
				n := s.requests[endpoint][c].Load()
				t.Requests += n
				if code == 429 || code >= 500 {
					t.Errors += n
				}
			}
			for b := range t.Buckets {
				t.Buckets[b] += s.buckets[endpoint][b].Load()
			}
		}
	}
	return t
}

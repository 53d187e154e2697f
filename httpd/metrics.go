package httpd

import (
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"promostore/web"
)

// The endpoints that requests are counted by.
const (
	endpointPromotion = iota
	endpointLookup
	endpointOther
	numEndpoints
)

var endpointNames = [numEndpoints]string{"promotion", "lookup", "other"}

// The results that looked-up ids are counted by.
const (
	lookupFound = iota
	lookupNotFound
	lookupMalformed
	lookupError
	numLookups
)

var lookupNames = [numLookups]string{"found", "not_found", "malformed", "error"}

// The results that swaps of generations are counted by.
const (
	swapLive = iota
	swapRefused
	swapFault
	numSwaps
)

var swapNames = [numSwaps]string{"live", "refused", "fault"}

const (
	resultOK = iota
	resultFailed
	numResults
)

var resultNames = [numResults]string{"ok", "failed"}

// The codes that answers can have, the frequent ones first. The last counts
// what should not be.
var codes = [...]int{200, 404, 304, 400, 405, 408, 413, 415, 431, 500, 503, 0}

func codeIndex(code int) int {
	for i, c := range codes[:len(codes)-1] {
		if c == code {
			return i
		}
	}
	return len(codes) - 1
}

// bounds are the upper ends of the histogram's buckets.
var bounds = [...]time.Duration{
	1 * time.Microsecond, 2500 * time.Nanosecond, 5 * time.Microsecond,
	10 * time.Microsecond, 25 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second,
}

// figures is what the server counts. What every request touches is in shards.
type figures struct {
	_      [128]byte // what is in front is read by every request; see shard
	shards [64]shard

	swaps       [numSwaps]atomic.Uint64
	openNanos   atomic.Int64 // of the last generation that went live
	verifyNanos atomic.Int64
	pinErrors   atomic.Uint64
	tlsReloads  [numResults]atomic.Uint64
	panics      atomic.Uint64

	acceptErrors    atomic.Uint64
	handshakeErrors atomic.Uint64
	rejectedPerIP   atomic.Uint64
	offered         atomic.Bool // a connection that was accepted, and not yet taken
}

// A shard is the part of the figures that one connection in 64 writes to.
type shard struct {
	requests [numEndpoints][len(codes)]atomic.Uint64
	buckets  [numEndpoints][len(bounds) + 1]atomic.Uint64
	nanos    [numEndpoints]atomic.Uint64
	lookups  [numLookups]atomic.Uint64
	_        [128]byte // so that two shards share no cache line, nor a pair that is fetched as one
}

func (f *figures) shard(connID uint64) *shard { return &f.shards[connID%uint64(len(f.shards))] }

func (s *shard) observe(endpoint, code int, took time.Duration) {
	s.requests[endpoint][codeIndex(code)].Add(1)
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	s.buckets[endpoint][i].Add(1)
	s.nanos[endpoint].Add(uint64(max(took, 0)))
}

// sum adds up one counter of every shard.
func (f *figures) sum(counter func(*shard) *atomic.Uint64) (n uint64) {
	for i := range f.shards {
		n += counter(&f.shards[i]).Load()
	}
	return n
}

// prometheus answers with all figures in the text format of Prometheus.
//
// The metrics of this package bring their own types and help: those of the
// metrics library are an all-or-nothing switch for the whole process, and with
// it the library's own process metrics break the naming rules.
func (s *Server) prometheus(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	var p web.Page
	s.writeRequests(&p)
	s.writeGeneration(&p)
	s.writeServer(&p)
	metrics.WriteProcessMetrics(&p.Buffer)
	metrics.WriteFDMetrics(&p.Buffer)
	ctx.Response.Header.SetCanonical(headerContentType, []byte("text/plain; version=0.0.4; charset=utf-8"))
	ctx.Response.SetBodyRaw(p.Bytes())
}

func (s *Server) writeRequests(p *web.Page) {
	f := &s.figures
	p.Family("promoserve_http_requests_total", "counter", "Answers sent.")
	for e, endpoint := range endpointNames {
		for c, code := range codes {
			n := f.sum(func(s *shard) *atomic.Uint64 { return &s.requests[e][c] })
			label := strconv.Itoa(code)
			if code == 0 {
				label = "other"
			}
			p.Sample("", float64(n), "endpoint", endpoint, "code", label)
		}
	}
	p.Family("promoserve_http_request_duration_seconds", "histogram", "From the request having been read to its answer being ready to be sent.")
	for e, endpoint := range endpointNames {
		total := uint64(0)
		for b := range len(bounds) + 1 {
			total += f.sum(func(s *shard) *atomic.Uint64 { return &s.buckets[e][b] })
			le := "+Inf"
			if b < len(bounds) {
				le = strconv.FormatFloat(bounds[b].Seconds(), 'g', -1, 64)
			}
			p.Sample("_bucket", float64(total), "endpoint", endpoint, "le", le)
		}
		nanos := f.sum(func(s *shard) *atomic.Uint64 { return &s.nanos[e] })
		p.Sample("_sum", time.Duration(nanos).Seconds(), "endpoint", endpoint)
		p.Sample("_count", float64(total), "endpoint", endpoint)
	}
	p.Family("promoserve_lookups_total", "counter", "Ids looked up, alone or in batches.")
	for r, result := range lookupNames {
		n := f.sum(func(s *shard) *atomic.Uint64 { return &s.lookups[r] })
		p.Sample("", float64(n), "result", result)
	}
}

func (s *Server) writeGeneration(p *web.Page) {
	f := &s.figures
	p.Family("promoserve_generation_swaps_total", "counter", "Generations that went live, were refused as bad, or were taken out of service because their file changed.")
	for r, result := range swapNames {
		p.Sample("", float64(f.swaps[r].Load()), "result", result)
	}
	p.Family("promoserve_generation_open_seconds", "gauge", "Time to open and check the index of the last generation that went live.")
	p.Sample("", time.Duration(f.openNanos.Load()).Seconds())
	p.Family("promoserve_generation_verify_seconds", "gauge", "Time to verify the blocks of the last generation that went live.")
	p.Sample("", time.Duration(f.verifyNanos.Load()).Seconds())
	p.Family("promoserve_pinned", "gauge", "1 if a generation is pinned, whether it is there or not.")
	p.Sample("", boolean(s.opts.Store.Status().Pin.Active))
	p.Family("promoserve_pin_errors_total", "counter", "Times that the pin became one that cannot be read.")
	p.Sample("", float64(f.pinErrors.Load()))
	file := s.opts.Store.Acquire(0)
	if file == nil {
		return
	}
	defer s.opts.Store.Release(file, 0)
	created := file.ID().Time()
	p.Family("promoserve_generation_info", "gauge", "The live generation.")
	p.Sample("", 1, "generation", file.ID().String(), "access", file.Access().String())
	p.Family("promoserve_generation_records", "gauge", "Records of the live generation.")
	p.Sample("", float64(file.Header().Records))
	p.Family("promoserve_generation_size_bytes", "gauge", "Length of the live generation's file.")
	p.Sample("", float64(file.Header().FileLen))
	p.Family("promoserve_generation_created_timestamp_seconds", "gauge", "When the live generation was made.")
	p.Sample("", float64(created.UnixMilli())/1000)
	p.Family("promoserve_io_uring", "gauge", "1 if reads of the live generation that have to wait for the disk do so in io_uring; 0 with access mmap, and where the kernel or the file system has no io_uring.")
	p.Sample("", boolean(file.UsesRing()))
	p.Family("promoserve_generation_age_seconds", "gauge", "Time since the live generation was made.")
	p.Sample("", time.Since(created).Seconds())
}

func (s *Server) writeServer(p *web.Page) {
	f := &s.figures
	p.Family("promoserve_ready", "gauge", "1 if /readyz answers 200.")
	p.Sample("", boolean(s.live(0) && !s.draining.Load()))
	p.Family("promoserve_http_connections_open", "gauge", "Connections open now.")
	p.Sample("", float64(s.fast.GetOpenConnectionsCount()))
	p.Family("promoserve_http_connections_rejected_total", "counter", "Connections beyond the limit of descriptors, answered with 503, or of one address, answered with 429.")
	p.Sample("", float64(s.fast.GetRejectedConnectionsCount()), "limit", "descriptors")
	p.Sample("", float64(f.rejectedPerIP.Load()), "limit", "address")
	p.Family("promoserve_http_accept_errors_total", "counter", "Times that a connection had to wait because descriptors or memory had run out.")
	p.Sample("", float64(f.acceptErrors.Load()))
	p.Family("promoserve_tls_handshake_errors_total", "counter", "Connections that began as TLS and came to nothing.")
	p.Sample("", float64(f.handshakeErrors.Load()))
	p.Family("promoserve_http_panics_total", "counter", "Requests that panicked.")
	p.Sample("", float64(f.panics.Load()))
	p.Family("promoserve_tls_reloads_total", "counter", "Certificates that were loaded or refused after the start.")
	for r, result := range resultNames {
		p.Sample("", float64(f.tlsReloads[r].Load()), "result", result)
	}
	if c := s.opts.Certificates; c != nil {
		p.Family("promoserve_certificate_expiry_timestamp_seconds", "gauge", "When the certificate expires.")
		p.Sample("", float64(c.NotAfter().Unix()))
	}
	p.Family("promoserve_build_info", "gauge", "The program.")
	p.Sample("", 1, "version", s.opts.Version, "goversion", runtime.Version())
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

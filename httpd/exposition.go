package httpd

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format/generation"
	"promostore/web"
)

// prometheus writes all metrics in the Prometheus text exposition format.
func (s *Server) prometheus(ctx *fasthttp.RequestCtx) {
	if !readOnly(ctx) {
		return
	}
	var w web.ExpositionWriter
	s.writeRequests(&w)
	if s.history != nil {
		s.history.WriteMetrics(&w, "promoserve")
	}
	s.writeGeneration(&w)
	s.writeServer(&w)
	w.Process("promoserve_build_info", s.opts.Version)
	ctx.Response.Header.SetCanonical(headerContentType, []byte(web.ExpositionType))
	ctx.Response.SetBodyRaw(w.Bytes())
}

func (s *Server) writeRequests(w *web.ExpositionWriter) {
	m := &s.metrics
	w.Family("promoserve_http_requests_total", "counter", "Answered requests by endpoint (promotion, lookup, other) and status code (other: a rare one).")
	for e, endpoint := range endpointNames {
		for c, code := range codes {
			n := m.sum(func(s *shard) *atomic.Uint64 { return &s.requests[e][c] })
			label := strconv.Itoa(code)
			if code == 0 {
				label = "other"
			}
			w.Sample("", float64(n), "endpoint", endpoint, "code", label)
		}
	}
	w.Family("promoserve_http_request_duration_seconds", "histogram", "Time from reading a request until its response is ready to be sent, by endpoint (promotion, lookup, other).")
	for e, endpoint := range endpointNames {
		total := uint64(0)
		for b := range len(bounds) + 1 {
			total += m.sum(func(s *shard) *atomic.Uint64 { return &s.buckets[e][b] })
			le := "+Inf"
			if b < len(bounds) {
				le = strconv.FormatFloat(bounds[b].Seconds(), 'g', -1, 64)
			}
			w.Sample("_bucket", float64(total), "endpoint", endpoint, "le", le)
		}
		nanos := m.sum(func(s *shard) *atomic.Uint64 { return &s.nanos[e] })
		w.Sample("_sum", time.Duration(nanos).Seconds(), "endpoint", endpoint)
		w.Sample("_count", float64(total), "endpoint", endpoint)
	}
	w.Family("promoserve_lookups_total", "counter", "IDs looked up, alone or in batches, by result: found, not_found, malformed, error, busy (the lookup waited too long for the disk; once per request), foreign (another server has the shard of the ID; once per request).")
	for r, result := range lookupNames {
		n := m.sum(func(s *shard) *atomic.Uint64 { return &s.lookups[r] })
		w.Sample("", float64(n), "result", result)
	}
	w.Counter("promoserve_lookup_requests_refused_total", m.lookupsRefused.Load(), "Lookups answered with 503 because the lookups under way used all of their processors or memory.")
}

func (s *Server) writeGeneration(w *web.ExpositionWriter) {
	m := &s.metrics
	w.Family("promoserve_generation_swaps_total", "counter", "Generations by result: live (became live), refused (damaged or unreadable, or with another format version or a wrong name), fault (demoted because the file changed).")
	for r, result := range swapNames {
		w.Sample("", float64(m.swaps[r].Load()), "result", result)
	}
	w.Gauge("promoserve_generation_open_seconds", time.Duration(m.openNanos.Load()).Seconds(), "Time to open the generation that became live last and to check its index.")
	w.Gauge("promoserve_generation_verify_seconds", time.Duration(m.verifyNanos.Load()).Seconds(), "Time to verify the blocks of the generation that became live last.")
	w.Family("promoserve_digits_info", "gauge", "Deciding digits of the IDs that the server serves; always 1.")
	w.Sample("", 1, "digits", s.opts.Store.Digits().String())
	st := s.opts.Store.Status()
	w.Bool("promoserve_pinned", st.Pinned() != nil, "1 if a generation is pinned, even if its file is missing; 0 after a newer one has released the pin.")
	held := time.Duration(0)
	if !st.Held.IsZero() {
		held = max(0, time.Since(st.Held))
	}
	w.Gauge("promoserve_held_back_seconds", held.Seconds(), "Time for which the pin has held back a newer servable generation; 0 if it does not.")
	w.Gauge("promoserve_generations_future", float64(len(generation.Future(st.Ahead))), "Generation files whose ID is more than an hour ahead of the clock.")
	w.Gauge("promoserve_generations_refused", float64(len(st.Refused)), "Refused files: preferred to the live generation, but not servable.")
	w.Bool("promoserve_pin_readable", st.PinErr == nil, "1 unless the directory has a pin that cannot be read.")
	w.Counter("promoserve_pin_errors_total", m.pinErrors.Load(), "Times that the pin file became unreadable.")
	w.Bool("promoserve_directory_readable", st.DirErr == nil, "1 if the last poll could read the directory.")
	w.Bool("promoserve_generation_deleted", st.Deleted, "1 if the directory no longer has a file of the live generation, which is served on.")
	w.Counter("promoserve_generation_deletions_total", m.deletions.Load(), "Times that a file of the live generation was deleted.")
	w.Gauge("promoserve_generation_missing_shards", float64(len(st.Missing)), "Shards of the newest generation that the directory lacks, although the server needs them.")
	w.Bool("promoserve_newest_verified", st.NewestVerified, "1 if the newest generation is live, or was verified while an older one is pinned.")
	g := s.opts.Store.Acquire(0)
	if g == nil {
		return
	}
	defer s.opts.Store.Release(g, 0)
	created := g.ID().Time()
	w.Family("promoserve_generation_info", "gauge", "ID and access mode of the live generation; always 1.")
	w.Sample("", 1, "generation", g.ID().String(), "access", g.Access().String())
	w.Gauge("promoserve_generation_shards", float64(g.Header().Shards), "Shards into which the live generation is divided; 1 if it is not.")
	w.Gauge("promoserve_generation_records", float64(g.Header().Records), "Records of the live generation that the server has.")
	w.Gauge("promoserve_generation_size_bytes", float64(g.Header().FileLen), "Size of the files of the live generation that the server has.")
	w.Gauge("promoserve_generation_created_timestamp_seconds", float64(created.UnixMilli())/1000, "Time at which the live generation was created.")
	w.Bool("promoserve_io_uring", g.UsesRing(), "1 if reads of the live generation that miss the page cache use io_uring; 0 with access mmap, and if the kernel or the file system lacks io_uring.")
	w.Gauge("promoserve_generation_age_seconds", g.ID().Age(time.Now()).Seconds(), "Time since the live generation was created; 0 if it is ahead of the clock.")
}

func (s *Server) writeServer(w *web.ExpositionWriter) {
	m := &s.metrics
	w.Bool("promoserve_ready", s.ready(), "1 if /readyz answers 200.")
	w.Gauge("promoserve_http_connections_open", float64(s.fast.GetOpenConnectionsCount()), "Open connections.")
	w.Counter("promoserve_http_connections_rejected_total", uint64(s.fast.GetRejectedConnectionsCount()), "Connections rejected with 503 because the limit on open files leaves no descriptor.")
	w.Counter("promoserve_http_accept_errors_total", m.acceptErrors.Load(), "Failed attempts to accept a connection because file descriptors or memory ran out.")
	w.Counter("promoserve_tls_handshake_errors_total", m.handshakeErrors.Load(), "TLS handshakes that failed.")
	w.Counter("promoserve_http_panics_total", m.panics.Load(), "Requests whose handler panicked.")
	w.Family("promoserve_tls_reloads_total", "counter", "Certificates read again after the start, by result: ok, failed.")
	for r, result := range resultNames {
		w.Sample("", float64(m.tlsReloads[r].Load()), "result", result)
	}
	if c := s.opts.Certificates; c != nil {
		w.Gauge("promoserve_certificate_expiry_timestamp_seconds", float64(c.NotAfter().Unix()), "Time at which the certificate expires.")
	}
}

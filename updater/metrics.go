package updater

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/web"
)

// counters counts builds and uploads. Safe for concurrent use.
type counters struct {
	bytes atomic.Uint64 // of uploads

	mu          sync.Mutex // guards the fields below
	builds      map[string]uint64
	uploads     map[int]uint64
	pins        map[int]uint64
	last        builder.Summary
	publishedAt time.Time           // zero: this process has published nothing
	comparison  *builder.Comparison // the last one; nil: none
}

// uploadCodes lists the codes that are exposed from the start. A series that
// begins with its first event at 1 would show no increase.
var uploadCodes = []int{201, 202, 400, 401, 403, 408, 409, 413, 415, 422, statusGone, 500, 503, 507}

// pinCodes is like uploadCodes, for requests that change the pin.
var pinCodes = []int{200, 400, 401, 403, 404, 408, 413, 415, 422, statusGone, 500, 503, 507}

func (c *counters) countBytes(n int) { c.bytes.Add(uint64(n)) }

func (c *counters) countBuild(outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.builds == nil {
		c.builds = map[string]uint64{}
	}
	c.builds[outcome]++
}

// published returns the number of published generations.
func (c *counters) published() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.builds[outcomePublished]
}

func (c *counters) countUpload(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uploads == nil {
		c.uploads = map[int]uint64{}
	}
	c.uploads[code]++
}

func (c *counters) countPin(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pins == nil {
		c.pins = map[int]uint64{}
	}
	c.pins[code]++
}

func (c *counters) countComparison(x builder.Comparison) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.comparison = &x
}

func (c *counters) countPublished(sum builder.Summary) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.publishedAt = sum, time.Now()
}

// prometheus answers with the metrics in the text format of Prometheus.
func (s *Server) prometheus(w http.ResponseWriter, _ *http.Request) {
	var e web.ExpositionWriter
	_, running := s.pipeline.builds.current()
	e.Bool("promobuild_build_running", running, "1 while a build is running.")
	s.pipeline.counters.write(&e)
	e.Counter("promobuild_accept_errors_total", s.acceptErrors.Load(), "Failed attempts to accept a connection because file descriptors or memory ran out.")
	e.Counter("promobuild_clients_refused_total", s.refusals.total.Load(), "Requests refused for their token, certificate, origin or host.")
	e.Bool("promobuild_token_file_refused", s.auth.tokenFileRefused(), "1 while the token file is missing, or changed to one that cannot be used.")
	s.pipeline.hooks.write(&e)
	if s.inbox != nil {
		s.inbox.counts().write(&e)
	}
	if s.history != nil {
		s.history.WriteMetrics(&e, "promobuild")
	}
	s.writeDirectory(&e)
	e.Process("promobuild_build_info", s.opts.Version)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", web.ExpositionType)
	_, _ = w.Write(e.Bytes()) // it fails only if the client has gone
}

func (c *counters) write(e *web.ExpositionWriter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.Family("promobuild_builds_total", "counter", "Finished builds by result: "+strings.Join(outcomes, ", ")+".")
	for _, outcome := range outcomes {
		e.Sample("", float64(c.builds[outcome]), "result", outcome)
	}
	e.Family("promobuild_uploads_total", "counter", "Uploads by status code; 499 is a client that went away before the whole body arrived.")
	for _, code := range uploadCodes {
		e.Sample("", float64(c.uploads[code]), "code", strconv.Itoa(code))
	}
	e.Family("promobuild_pin_requests_total", "counter", "Requests to pin, unpin and roll back by status code; 499 is a client that went away before the generation was verified.")
	for _, code := range pinCodes {
		e.Sample("", float64(c.pins[code]), "code", strconv.Itoa(code))
	}
	e.Counter("promobuild_upload_bytes_total", c.bytes.Load(), "Bytes of uploads received, as sent.")
	if x := c.comparison; x != nil {
		e.Family("promobuild_last_comparison_records", "gauge", "Records of the last comparison of a data set with the live generation: added, removed, changed, unchanged.")
		e.Sample("", float64(x.Added), "change", "added")
		e.Sample("", float64(x.Removed), "change", "removed")
		e.Sample("", float64(x.Changed), "change", "changed")
		e.Sample("", float64(x.Unchanged), "change", "unchanged")
	}
	if c.publishedAt.IsZero() {
		return
	}
	e.Gauge("promobuild_last_publish_timestamp_seconds", float64(c.publishedAt.UnixMilli())/1000, "Time when this process last published a generation.")
	e.Gauge("promobuild_last_build_seconds", c.last.Seconds, "Duration of the last published build.")
	e.Gauge("promobuild_last_build_records", float64(c.last.Records), "Records of the last published generation.")
}

func (h *hooks) write(e *web.ExpositionWriter) {
	e.Counter("promobuild_hook_runs_total", h.numRuns.Load(), "Runs of the command after publishing.")
	e.Counter("promobuild_hook_failures_total", h.numFailures.Load(), "Failed runs of the command after publishing.")
}

func (st inboxStatus) write(e *web.ExpositionWriter) {
	e.Family("promobuild_inbox_files", "gauge", "Files of the inbox by state: waiting, done, failed, stuck (the latest build or move failed and is tried again).")
	e.Sample("", float64(st.Waiting), "state", "waiting")
	e.Sample("", float64(st.Done), "state", "done")
	e.Sample("", float64(st.Failed), "state", "failed")
	e.Sample("", float64(st.Stuck), "state", "stuck")
	e.Counter("promobuild_inbox_errors_total", st.errors, "Files of the inbox that could not be built or moved and are tried again, and failed polls.")
}

// writeDirectory writes the metrics of the directory of the generations.
func (s *Server) writeDirectory(e *web.ExpositionWriter) {
	dir := s.opts.Build.Dir
	if free, size, err := fsx.Space(dir); err == nil {
		e.Gauge("promobuild_disk_free_bytes", float64(free), "Free bytes of the file system of the generations.")
		e.Gauge("promobuild_disk_size_bytes", float64(size), "Size of the file system of the generations.")
	}
	st := s.pipeline.checker.Status(dir)
	e.Bool("promobuild_pinned", st.Pinned() != nil, "1 while a generation is pinned.")
	e.Gauge("promobuild_generations_future", float64(len(generation.Future(st.Ahead))), "Generations whose ID is more than an hour ahead of the clock.")
	e.Gauge("promobuild_generation_missing_shards", float64(len(st.Missing)), "Shards of the newest generation that the directory lacks.")
	if st.Live != nil {
		e.Gauge("promobuild_generation_bytes", float64(st.Live.FileLen), "Length of the files of the live generation.")
		e.Gauge("promobuild_generation_shards", float64(st.Live.Shards), "Shards into which the live generation is divided; 1 if it is not.")
		e.Gauge("promobuild_generation_records", float64(st.Live.Records), "Records of the live generation.")
	}
}

package updater

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/web"
)

// figures is what the server counts.
type figures struct {
	bytes        atomic.Uint64 // of uploads
	hookRuns     atomic.Uint64
	hookFailures atomic.Uint64

	mu        sync.Mutex // guards what follows
	builds    map[string]uint64
	uploads   map[int]uint64
	last      builder.Summary
	publishAt time.Time
}

func (f *figures) received(n int) { f.bytes.Add(uint64(n)) }

func (f *figures) built(result string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.builds == nil {
		f.builds = map[string]uint64{}
	}
	f.builds[result]++
}

func (f *figures) upload(code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.uploads == nil {
		f.uploads = map[int]uint64{}
	}
	f.uploads[code]++
}

func (f *figures) published(sum builder.Summary) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last, f.publishAt = sum, time.Now()
}

// uploadCodes are there from the start, so that the first of each is seen as an
// increase. 499 is a client that went away.
var uploadCodes = []int{201, 400, 401, 403, 408, 409, 413, 422, statusGone, 500, 503, 507}

// prometheus answers with all figures in the text format of Prometheus.
func (s *Server) prometheus(w http.ResponseWriter, _ *http.Request) {
	var p web.ExpositionWriter
	s.writeBuilds(&p)
	s.writeUploads(&p)
	s.writeInbox(&p)
	s.writeHooks(&p)
	s.writeDisk(&p)
	p.Process("promobuild_build_info", s.opts.Version)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	w.Header().Set("Content-Type", web.ExpositionType)
	_, _ = w.Write(p.Bytes()) // the client has gone
}

func (s *Server) writeBuilds(p *web.ExpositionWriter) {
	_, runs := s.work.progress()
	f := &s.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Family("promobuild_builds_total", "counter", "Builds that ended.")
	for _, result := range results {
		p.Sample("", float64(f.builds[result]), "result", result)
	}
	p.Family("promobuild_build_running", "gauge", "1 while a build runs.")
	p.Sample("", boolean(runs))
	if f.publishAt.IsZero() {
		return
	}
	p.Family("promobuild_last_publish_timestamp_seconds", "gauge", "When this process last published a generation.")
	p.Sample("", float64(f.publishAt.UnixMilli())/1000)
	p.Family("promobuild_last_build_seconds", "gauge", "How long the last published build took.")
	p.Sample("", f.last.Seconds)
	p.Family("promobuild_last_build_records", "gauge", "Records of the generation published last.")
	p.Sample("", float64(f.last.Records))
}

func (s *Server) writeUploads(p *web.ExpositionWriter) {
	f := &s.figures
	f.mu.Lock()
	defer f.mu.Unlock()
	p.Family("promobuild_uploads_total", "counter", "Uploads, by the code of the answer; 499 is a client that went away.")
	for _, code := range uploadCodes {
		p.Sample("", float64(f.uploads[code]), "code", strconv.Itoa(code))
	}
	p.Family("promobuild_upload_bytes_total", "counter", "Bytes received of uploads, as they were sent.")
	p.Sample("", float64(f.bytes.Load()))
}

func (s *Server) writeInbox(p *web.ExpositionWriter) {
	if s.inbox == nil {
		return
	}
	n := s.inbox.counts()
	p.Family("promobuild_inbox_files", "gauge", "Files in the inbox and below it.")
	p.Sample("", float64(n.Waiting), "state", "waiting")
	p.Sample("", float64(n.Done), "state", "done")
	p.Sample("", float64(n.Failed), "state", "failed")
}

func (s *Server) writeHooks(p *web.ExpositionWriter) {
	p.Family("promobuild_hook_runs_total", "counter", "Commands run after publishing.")
	p.Sample("", float64(s.figures.hookRuns.Load()))
	p.Family("promobuild_hook_failures_total", "counter", "Commands run after publishing that failed.")
	p.Sample("", float64(s.figures.hookFailures.Load()))
}

func (s *Server) writeDisk(p *web.ExpositionWriter) {
	if free, size, err := fsx.Space(s.opts.Build.Dir); err == nil {
		p.Family("promobuild_disk_free_bytes", "gauge", "Bytes that can be written to the disk of the generations.")
		p.Sample("", float64(free))
		p.Family("promobuild_disk_size_bytes", "gauge", "Bytes of the disk of the generations.")
		p.Sample("", float64(size))
	}
	pin, _ := generation.ReadPin(s.opts.Build.Dir)
	p.Family("promobuild_pinned", "gauge", "1 while a generation is pinned.")
	p.Sample("", boolean(pin.Active))
	if _, header, err := s.checker.Live(s.opts.Build.Dir); err == nil {
		p.Family("promobuild_generation_bytes", "gauge", "Length of the live generation's file.")
		p.Sample("", float64(header.FileLen))
		p.Family("promobuild_generation_records", "gauge", "Records of the live generation.")
		p.Sample("", float64(header.Records))
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

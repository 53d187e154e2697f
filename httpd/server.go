package httpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/internal/sysmem"
	"promostore/page"
	"promostore/reader"
	"promostore/web"
)

// Options configures a Server.
type Options struct {
	Store         *reader.Store
	JSON          format.JSONOptions
	Logger        *slog.Logger
	Certificates  *web.Certificates // nil: plain http only
	TLSOnly       bool              // reject plain http; needs Certificates
	CacheControl  string            // header of promotions; empty: none. CheckCacheControl checks it
	MaxConnsPerIP int               // concurrent connections of one address; 0: no limit
	Page          bool              // serve the page, and answer requests about the generations
	Memory        int64             // bytes that the process may use; 0: those of the machine or of its cgroup
	Version       string            // of the program, for the metrics
}

// A Server answers requests on one listener. It is safe for concurrent use.
type Server struct {
	opts       Options
	started    time.Time
	fast       *fasthttp.Server
	metrics    metrics
	admission  admission
	generation atomic.Pointer[generationName]
	draining   atomic.Bool
	history    *web.History     // nil: without Options.Page
	recorder   *page.Recorder   // nil: without Options.Page
	minutes    <-chan time.Time // ends the minutes of the recorder; nil: a ticker does

	slow          slowLog
	cacheControl  []byte // header of promotions; empty: none
	lingerTimeout time.Duration

	mu      sync.Mutex // guards the fields below
	ln      net.Listener
	stopped bool
}

// New returns a server that does not listen yet. The caller keeps the Store
// and must not close it before Shutdown returns.
func New(opts Options) *Server {
	if opts.Memory == 0 {
		opts.Memory = sysmem.Total()
	}
	s := &Server{opts: opts, cacheControl: []byte(opts.CacheControl), started: time.Now(), admission: newAdmission(opts.Memory), lingerTimeout: lingerTimeout}
	s.slow.log, s.slow.now = opts.Logger, time.Now
	s.SetLogSlow(-1)
	if opts.Page {
		s.history = web.NewHistory(opts.Store.Dir(), opts.Store.Digits(), opts.Store.Status, opts.JSON)
		s.recorder = page.NewRecorder(bounds[:], s.metrics.totals)
	}
	s.fast = newFastServer(s.handle)
	s.fast.ErrorHandler = s.reject
	s.fast.Logger = fastLogger{opts.Logger}
	s.fast.Concurrency = maxConnections(opts.Memory)
	if opts.Certificates != nil {
		opts.Certificates.WarnOfExpiry(opts.Logger)
	}
	return s
}

// newFastServer returns a fasthttp server with the limits of this package.
func newFastServer(handler fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      handler,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		DisablePreParseMultipartForm: true,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		ReadBufferSize:               maxHeaderBytes,
		// fasthttp allocates the announced length of a body before the body
		// arrives. In place of that it reads one byte, and the handler the rest.
		StreamRequestBody:  true,
		MaxRequestBodySize: 1,
	}
}

// Serve answers requests on ln until Shutdown, and closes ln. It returns nil
// after Shutdown, even if Shutdown was called first. Serve may be called once.
func (s *Server) Serve(ln net.Listener) error {
	ln = s.wrapListener(ln)
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = ln
	s.mu.Unlock()
	if s.recorder != nil {
		minutes := s.minutes
		if minutes == nil {
			ticker := time.NewTicker(time.Minute)
			defer ticker.Stop()
			minutes = ticker.C
		}
		done := make(chan struct{})
		defer close(done)
		go s.recorder.Run(minutes, done)
	}
	return s.fast.Serve(ln)
}

// Drain makes /readyz answer 503 and closes each connection after its next
// answer, so that clients turn to another server. New connections are still
// served. A running comparison of generations ends.
func (s *Server) Drain() {
	s.draining.Store(true)
	if s.history != nil {
		s.history.Stop()
	}
}

// Shutdown closes the listener and the idle connections. It returns when all
// running requests have been answered or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	err := s.fast.ShutdownWithContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.ln != nil {
		// fasthttp does not close the listener of a Serve that has just begun.
		// Otherwise this is the second Close, and err is the result of the first.
		_ = s.ln.Close()
	}
	return err
}

// ReloadCertificates reads the certificate files again, for new connections. If
// they are invalid, the old certificate remains.
func (s *Server) ReloadCertificates() {
	if s.opts.Certificates == nil {
		return
	}
	result := resultOK
	if s.opts.Certificates.Reload(s.opts.Logger) != nil {
		result = resultFailed
	}
	s.metrics.tlsReloads[result].Add(1)
}

// handshakeFailed counts a connection whose TLS handshake failed.
func (s *Server) handshakeFailed(c net.Conn, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // Shutdown closed it
	}
	s.metrics.handshakeErrors.Add(1)
	s.opts.Logger.Debug("handshake", "client", c.RemoteAddr().String(), "error", err)
}

// Observe counts and logs an event of the Store. The Notify function of the
// Store's options is meant to call it.
func (s *Server) Observe(e reader.Event) {
	log := s.opts.Logger.With("generation", e.ID.String(), "file", e.Path)
	switch e.Kind {
	case reader.EventLive:
		s.metrics.swaps[swapLive].Add(1)
		s.metrics.openNanos.Store(int64(e.Open))
		s.metrics.verifyNanos.Store(int64(e.Verify))
		if e.Previous != nil {
			log = log.With("previous", e.Previous.String())
		}
		log.Info("generation live", "records", e.Records, "bytes", e.Bytes, "access", e.Access.String(), "open_seconds", e.Open.Seconds(), "verify_seconds", e.Verify.Seconds())
	case reader.EventRefused:
		s.metrics.swaps[swapRefused].Add(1)
		log.Error("generation refused", "error", e.Err)
	case reader.EventFault:
		s.metrics.swaps[swapFault].Add(1)
		log.Error("generation demoted", "error", e.Err)
	case reader.EventUnreadable:
		log.Error("generation cannot be read, it remains live", "error", e.Err)
	case reader.EventReadable:
		log.Info("generation can be read again")
	case reader.EventChanged:
		log.Warn("generation file changed, verifying it again", "error", e.Err)
	case reader.EventUnchanged:
		log.Info("generation file is unchanged")
	case reader.EventClosed:
		if e.Err != nil {
			log.Error("generation closed", "error", e.Err)
		} else {
			log.Info("generation closed")
		}
	case reader.EventFuture:
		log.Error("generation from the future, others are preferred", "ahead_seconds", int64(e.ID.Ahead(time.Now()).Seconds()))
	case reader.EventDeleted:
		s.metrics.deletions.Add(1)
		log.Error("generation file deleted, it remains live", "error", e.Err)
	case reader.EventRestored:
		log.Info("generation file is there again")
	case reader.EventDirUnreadable:
		s.opts.Logger.Error("directory cannot be read", "data", e.Path, "error", e.Err)
	case reader.EventDirReadable:
		s.opts.Logger.Info("directory can be read again", "data", e.Path)
	case reader.EventNone:
		s.opts.Logger.Warn("no generation is live", "data", e.Path, "error", e.Err)
	case reader.EventVerified:
		log.Info("generation verified, the pin holds it back", "records", e.Records, "bytes", e.Bytes, "access", e.Access.String(), "open_seconds", e.Open.Seconds(), "verify_seconds", e.Verify.Seconds())
	case reader.EventPinned:
		if e.Pin.UntilNewer {
			log = log.With("until_newer_than", e.Pin.Newest.String())
		}
		log.Warn("generation pinned", "by", e.Pin.By, "reason", e.Pin.Reason, "at", e.Pin.At)
	case reader.EventReleased:
		log.Info("pin released by a newer generation", "pinned", e.Pin.ID.String(), "by", e.Pin.By, "reason", e.Pin.Reason, "at", e.Pin.At)
	case reader.EventUnpinned:
		log := s.opts.Logger.With("file", e.Path)
		if !e.Pin.At.IsZero() { // zero: the file was removed
			log = log.With("by", e.Pin.By, "reason", e.Pin.Reason, "at", e.Pin.At)
		}
		log.Info("generation unpinned, the newest is served")
	case reader.EventPinUnmet:
		log.Error("pinned generation is not served", "error", e.Err)
	case reader.EventPinUnreadable:
		s.metrics.pinErrors.Add(1)
		s.opts.Logger.Error("pin cannot be read, the live generation remains", "error", e.Err)
	}
}

// A fastLogger logs the messages of fasthttp at level debug. They are about
// connections that clients broke, or that exceed a limit.
type fastLogger struct{ *slog.Logger }

func (l fastLogger) Printf(format string, args ...any) {
	if l.Enabled(context.Background(), slog.LevelDebug) {
		l.Debug("connection", "message", fmt.Sprintf(format, args...))
	}
}

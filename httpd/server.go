// Package httpd answers for promotions over HTTP: one at a time, in batches,
// and with what the operator of the server needs to know.
//
// A request for one promotion takes no lock, allocates nothing and writes no
// memory that all processors share: it pins the current generation, copies one
// record out of it, and counts itself in a shard of the figures that its
// connection picks. It logs nothing. fasthttp adds no lock: its counters of
// connections and those of an address, its map of idle connections and its
// pools are for the start and the end of a connection. But twice a request it
// notes in 8 bytes of the connection whether it is idle, and those of some
// connections can share a cache line.
//
// What it does not promise: HTTP/2, and to tell clients apart by anything but
// their address. Both belong to a proxy in front of it.
package httpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/format/generation"
	"promostore/reader"
	"promostore/web"
)

// What a client may take of the server. The figures are not options: a request
// is 200 bytes and its answer 400, so whoever needs more is not a client. A
// timeout may come deadlineSlack early.
const (
	readTimeout    = 10 * time.Second // from the start of a connection, or the first byte of a later request, to the end of the request
	writeTimeout   = 10 * time.Second // from an answer being ready to its last byte having been taken by the kernel
	idleTimeout    = 90 * time.Second // from an answer to the first byte of the next request: longer than proxies wait, so that it is they who close
	maxHeaderBytes = 8 << 10          // request line and headers
	maxBodyBytes   = 1 << 20          // twice what the longest batch needs in the longest spelling
)

// Options says what to serve, and how.
type Options struct {
	Store         *reader.Store
	JSON          format.JSONOptions
	Logger        *slog.Logger
	Certificates  *web.Certificates // nil: plain http alone
	TLSOnly       bool              // refuse plain http; needs Certificates
	MaxConnsPerIP int               // at the same time; 0: any number
	Version       string            // of the program, for the metrics
}

// A Server answers on one listener. Safe for concurrent use.
type Server struct {
	opts       Options
	fast       *fasthttp.Server
	figures    figures
	generation atomic.Pointer[generationName]
	draining   atomic.Bool

	mu      sync.Mutex // guards what follows
	ln      net.Listener
	stopped bool
}

// New makes a server that listens nowhere yet. The Store stays the caller's:
// it must outlive Shutdown.
func New(opts Options) *Server {
	s := &Server{opts: opts}
	s.fast = newFastServer(s.handle)
	s.fast.ErrorHandler = s.refused
	s.fast.Logger = fastLogger{opts.Logger}
	s.fast.Concurrency = maxConnections()
	if opts.MaxConnsPerIP > 0 {
		s.fast.MaxConnsPerIP = opts.MaxConnsPerIP
		// Not without need: it is called twice a request.
		s.fast.ConnState = func(_ net.Conn, state fasthttp.ConnState) {
			if state == fasthttp.StateNew {
				s.figures.offered.Store(false)
			}
		}
	}
	s.warnOfExpiry()
	return s
}

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
		MaxRequestBodySize:           maxBodyBytes,
	}
}

// Serve answers on ln, which it closes in the end. It returns nil after
// Shutdown, also one that came first. To be called once.
func (s *Server) Serve(ln net.Listener) error {
	ln = newPatientListener(ln, &s.figures, s.opts.Logger, s.opts.MaxConnsPerIP > 0)
	if s.opts.Certificates != nil {
		ln = &sniffListener{ln, s.opts.Certificates.Config(), s.opts.TLSOnly, s.fast.WriteTimeout, s.handshakeFailed}
	} else {
		ln = deadlineListener{ln}
	}
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ln.Close()
	}
	s.ln = ln
	s.mu.Unlock()
	return s.fast.Serve(ln)
}

// handshakeFailed counts a connection that did not become TLS.
func (s *Server) handshakeFailed(c net.Conn, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // by Shutdown
	}
	s.figures.handshakeErrors.Add(1)
	s.opts.Logger.Debug("handshake", "client", c.RemoteAddr().String(), "error", err)
}

// Drain makes the server say that it is not ready, and end each connection
// with its next answer, so that clients turn to another. It goes on serving
// new connections.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown closes the listeners and idle connections and waits until the
// requests in flight are answered, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	err := s.fast.ShutdownWithContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.ln != nil {
		// fasthttp does not know of a Serve that has only just begun. If it
		// does, this is the second time, and err has the error of the first.
		_ = s.ln.Close()
	}
	return err
}

// ReloadCertificates reads the certificates again and uses them for new
// connections. If they are bad, the old ones stay.
func (s *Server) ReloadCertificates() {
	if s.opts.Certificates == nil {
		return
	}
	if err := s.opts.Certificates.Reload(); err != nil {
		s.figures.tlsReloads[resultFailed].Add(1)
		s.opts.Logger.Error("certificate refused, the old one stays", "error", err)
		return
	}
	s.figures.tlsReloads[resultOK].Add(1)
	s.opts.Logger.Info("certificate loaded", "expires", s.opts.Certificates.NotAfter())
	s.warnOfExpiry()
}

// expirySoon is how long before a certificate expires there is a warning when
// it is loaded.
const expirySoon = 7 * 24 * time.Hour

func (s *Server) warnOfExpiry() {
	if s.opts.Certificates == nil {
		return
	}
	switch expires := s.opts.Certificates.NotAfter(); {
	case time.Now().After(expires):
		s.opts.Logger.Warn("certificate has expired", "expires", expires)
	case time.Until(expires) < expirySoon:
		s.opts.Logger.Warn("certificate expires soon", "expires", expires)
	}
}

// Observe counts and logs what happened to a generation. It is meant to be
// called from the Notify of the Store's options.
func (s *Server) Observe(e reader.Event) {
	log := s.opts.Logger.With("generation", e.ID.String(), "file", e.Path)
	switch e.Kind {
	case reader.EventLive:
		s.figures.swaps[swapLive].Add(1)
		s.figures.openNanos.Store(int64(e.Open))
		s.figures.verifyNanos.Store(int64(e.Verify))
		log.Info("generation live", "access", e.Access.String(), "open_seconds", e.Open.Seconds(), "verify_seconds", e.Verify.Seconds())
	case reader.EventRefused:
		s.figures.swaps[swapRefused].Add(1)
		log.Error("generation refused", "error", e.Err)
	case reader.EventFault:
		s.figures.swaps[swapFault].Add(1)
		log.Error("generation taken out of service", "error", e.Err)
	case reader.EventClosed:
		if e.Err != nil {
			log.Error("generation closed", "error", e.Err)
		} else {
			log.Info("generation closed")
		}
	case reader.EventUnreadable:
		s.opts.Logger.Error("directory cannot be read", "data", e.Path, "error", e.Err)
	case reader.EventPinned:
		log.Warn("generation pinned", "by", e.Pin.By, "reason", e.Pin.Reason, "at", e.Pin.At)
	case reader.EventUnpinned:
		s.opts.Logger.Info("generation unpinned, the newest is served", "file", e.Path, "by", e.Pin.By, "reason", e.Pin.Reason, "at", e.Pin.At)
	case reader.EventPinUnmet:
		log.Error("pinned generation is not served", "error", e.Err)
	case reader.EventPinUnreadable:
		s.figures.pinErrors.Add(1)
		s.opts.Logger.Error("pin cannot be read, what is live stays", "error", e.Err)
	}
}

var promotionsPrefix = []byte("/promotions/")

// handle answers every request. It is the one place that recovers and counts.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	shard := s.figures.shard(ctx.ConnID())
	to := endpointOther
	defer func() {
		if r := recover(); r != nil {
			s.recovered(ctx, r)
		}
		shard.observe(to, ctx.Response.StatusCode(), time.Since(ctx.Time()))
	}()
	if s.draining.Load() {
		ctx.SetConnectionClose()
	}
	if isAmbiguous(&ctx.Request.Header) {
		ctx.SetConnectionClose()
		fail(ctx, fasthttp.StatusBadRequest, "malformed request")
		return
	}
	path := ctx.Path()
	if id, ok := bytes.CutPrefix(path, promotionsPrefix); ok {
		if string(id) == "lookup" {
			to = endpointLookup
			s.lookup(ctx, shard)
		} else {
			to = endpointPromotion
			s.promotion(ctx, shard, id)
		}
		return
	}
	switch string(path) {
	case "/healthz":
		s.healthz(ctx)
	case "/readyz":
		s.readyz(ctx)
	case "/status":
		s.status(ctx)
	case "/prometheus":
		s.prometheus(ctx)
	default:
		fail(ctx, fasthttp.StatusNotFound, "not found")
	}
}

func (s *Server) recovered(ctx *fasthttp.RequestCtx, reason any) {
	s.figures.panics.Add(1)
	s.opts.Logger.Error("panic", "reason", fmt.Sprint(reason), "uri", string(ctx.RequestURI()), "stack", string(debug.Stack()))
	ctx.Response.Reset()
	ctx.SetConnectionClose()
	fail(ctx, fasthttp.StatusInternalServerError, "internal error")
}

// generationName keeps the text of a generation, which every answer carries.
type generationName struct {
	id   generation.ID
	text []byte
}

// setGeneration says in the answer which generation it comes from. Around a
// swap requests of both generations may replace each other's text; each one
// uses its own.
func (s *Server) setGeneration(ctx *fasthttp.RequestCtx, f *reader.File) {
	name := s.generation.Load()
	if name == nil || name.id != f.ID() {
		name = &generationName{f.ID(), []byte(f.ID().String())}
		s.generation.Store(name)
	}
	ctx.Response.Header.SetCanonical(headerGeneration, name.text)
}

// fastLogger takes what fasthttp logs: connections that clients broke.
type fastLogger struct{ *slog.Logger }

func (l fastLogger) Printf(format string, args ...any) {
	if l.Enabled(context.Background(), slog.LevelDebug) {
		l.Debug("connection", "message", fmt.Sprintf(format, args...))
	}
}

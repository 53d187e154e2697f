// Package updater builds generations of data sets that arrive by HTTP or in an
// inbox directory, one at a time.
//
// An upload takes this path:
//
//	upload.go   authorize the client
//	header.go   reject pieces and content of other kinds
//	form.go     find the data set in a form
//	uploads.go  keep the result for a client that does not wait
//	refusal.go  count, log and slow down a client that may not upload
//	slot.go     acquire the build slot
//	build.go    build a generation and publish it
//	prune.go    remove old generations
//	hook.go     queue the command to run after publishing
//	answer.go   answer with the result
//
// generations.go answers requests about the published generations, pin.go changes
// which of them servers serve, and page.go serves the page.
//
// A file of the inbox takes the same path from slot.go on; inbox.go polls the
// inbox, inboxready.go finds the complete files, and inboxdir.go moves files from
// state to state.
//
// An upload streams into the builder. It is never stored, and needs no memory
// besides that of the build. Before the whole body has arrived, nothing is
// published. Afterwards the build ends by itself or by Shutdown, whatever the
// client does. The answer 201 follows the publication, 202 precedes it.
//
// The package does not promise that the command runs if the process is killed
// right after publishing, and it does not keep its results over a restart.
package updater

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/web"
)

// Limits of a connection. The body of an upload has deadlines of its own.
const (
	headerTimeout  = 10 * time.Second                // to receive the header of a request
	answerTimeout  = 10 * time.Second                // to send a response
	idleTimeout    = 10*time.Minute + 30*time.Second // longer than proxies wait; see httpd
	maxHeaderBytes = 16 << 10
)

// Options configures a Server.
type Options struct {
	// Build applies to every build. The updater sets Inputs, Generation,
	// Rejects, Observe, Publishing, Source and Program.
	Build builder.Options

	Inbox        string        // directory to take data sets from; empty: none
	Poll         time.Duration // interval between two polls of the inbox; 0: 1 s. A file is taken if two polls see it unchanged
	InboxMatch   string        // pattern of path.Match that the names of data sets match; empty: any name. Incomplete files and markers are never data sets
	InboxQuiet   time.Duration // without a change, before a file is taken that may be open for writing or has no content yet; 0: 30 s
	MaxUpload    int64         // bytes of a request body; 0: unlimited
	StallTimeout time.Duration // for a client to send minProgress bytes; 0: 30 s
	Keep         int           // generations that remain after publishing; 0: all
	Hook         string        // shell command to run after publishing; empty: none
	HookTimeout  time.Duration // 0: 5 min

	TokenFile  string // file with the tokens that may upload; empty: no token required
	ClientCert bool   // uploads require a client certificate that the TLS configuration verifies

	// AllowedHosts are the names that a Host header may have, besides localhost
	// and the addresses of this machine. They matter only without a token and a
	// certificate; see web.LocalHost.
	AllowedHosts []string

	// Hint returns the setting of the program that would have accepted the
	// data set that err rejects. It is part of answers, results and reports.
	// May be nil.
	Hint func(err error) Hint

	Page bool // serve the page, and answer requests about the generations

	Logger  *slog.Logger
	Version string // of the program, for the metrics and the summaries of builds
}

// A Server takes uploads from one listener, and files from the inbox. Safe for
// concurrent use.
type Server struct {
	opts     Options
	log      *slog.Logger
	started  time.Time
	http     *http.Server
	auth     authorizer
	refusals refusals
	pipeline *pipeline
	uploads  uploads
	inbox    *inbox       // nil: none
	history  *web.History // nil: without Options.Page

	verifying chan struct{} // holds an element while a generation is verified to be pinned

	acceptErrors atomic.Uint64

	cancel     context.CancelCauseFunc // of the pipeline and the hooks
	running    sync.WaitGroup          // goroutines of the inbox and the hooks
	background sync.WaitGroup          // builds of uploads, and hijacked connections

	starting sync.Mutex // orders the start of the goroutines before draining, or prevents it
	draining atomic.Bool
}

// New returns a server that does not serve yet, and locks the inbox. It creates
// the directory of the generations and removes the temporary files of a killed
// build. The caller must call Shutdown, even without Serve.
func New(opts Options) (*Server, error) {
	setDefault(&opts.Poll, time.Second)
	setDefault(&opts.InboxQuiet, 30*time.Second)
	setDefault(&opts.StallTimeout, 30*time.Second)
	setDefault(&opts.HookTimeout, 5*time.Minute)
	var tokens *tokenFile
	if opts.TokenFile != "" {
		var err error
		if tokens, err = openTokenFile(opts.TokenFile, opts.Logger); err != nil {
			return nil, err
		}
	}
	w, err := generation.OpenWriter(opts.Build.Dir) // creates and cleans the directory
	if err == nil {
		err = w.Close()
	}
	if err != nil && !errors.Is(err, generation.ErrLocked) { // another process may be building
		return nil, err
	}
	opts.Build.Program = opts.Version
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &Server{
		opts:    opts,
		log:     opts.Logger,
		started: time.Now(),
		auth:    authorizer{tokens, opts.ClientCert, opts.AllowedHosts, http.NewCrossOriginProtection()},
		cancel:  cancel,

		verifying: make(chan struct{}, 1),
	}
	s.pipeline = &pipeline{opts: opts.Build, keep: opts.Keep, hint: opts.Hint, log: opts.Logger, ctx: ctx, slot: newSlot()}
	s.refusals = refusals{log: opts.Logger, closing: s.pipeline.slot.closing, after: func() <-chan time.Time { return time.After(refusalPause) }}
	s.pipeline.hooks = &hooks{
		command: opts.Hook,
		timeout: opts.HookTimeout,
		dir:     opts.Build.Dir,
		log:     opts.Logger,
		ctx:     ctx,
		builds:  &s.pipeline.builds,
		wake:    make(chan struct{}, 1),
	}
	if opts.Inbox != "" {
		dir, err := openInboxDir(opts.Inbox, opts.Build.Dir, opts.InboxMatch, opts.Logger)
		if err != nil {
			cancel(nil)
			return nil, err
		}
		s.inbox = &inbox{dir: dir, pipeline: s.pipeline, poll: opts.Poll, quiet: opts.InboxQuiet, now: time.Now, lease: fsx.CheckLease, log: opts.Logger, seen: map[place]sighting{}, failures: map[place]failure{}, rejected: map[string]rejection{}}
	}
	if opts.Page {
		status := func() generation.Status { return s.pipeline.checker.Status(opts.Build.Dir) }
		s.history = web.NewHistory(opts.Build.Dir, generation.AllDigits, status, format.DefaultJSONOptions)
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout, // a body replaces it by deadlines of its own
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		Protocols:         new(http.Protocols),
	}
	s.http.Protocols.SetHTTP1(true)
	return s, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// Serve serves ln, with TLS if config is not nil, and takes files from the
// inbox. It returns nil after Shutdown. Call it once.
func (s *Server) Serve(ln net.Listener, config *tls.Config) error {
	s.start()
	ln = web.NewRetryListener(ln, &s.acceptErrors, s.log)
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// start starts the goroutines of the inbox and the hooks, unless Shutdown was
// called before.
func (s *Server) start() {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.draining.Load() {
		return
	}
	if s.inbox != nil {
		s.running.Go(s.inbox.run)
	}
	s.running.Go(s.pipeline.hooks.run)
}

// Shutdown rejects new data sets, and returns when the running build and the
// commands after publishing have ended. When ctx ends it interrupts them; an
// interrupted build leaves nothing.
func (s *Server) Shutdown(ctx context.Context) error {
	s.starting.Lock()
	s.draining.Store(true)
	s.starting.Unlock()
	if s.history != nil {
		s.history.Stop()
	}
	s.pipeline.slot.close()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		s.pipeline.slot.drain()
		s.pipeline.hooks.close() // after the last build, which queues a command
		s.running.Wait()
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	s.cancel(errStopped)
	<-idle
	// The last answers take moments, so they are sent even if ctx has ended.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	err := s.http.Shutdown(last)
	s.background.Wait()
	if s.inbox != nil {
		err = errors.Join(err, s.inbox.dir.close())
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/upload", only(http.MethodPost, s.upload))
	mux.HandleFunc("/uploads/{ID}", only(http.MethodGet, s.result))
	mux.HandleFunc("/pin", only("PUT, DELETE", s.pin))
	mux.HandleFunc("/rollback", only(http.MethodPost, s.rollback))
	mux.HandleFunc("/status", only(http.MethodGet, s.local(s.status)))
	mux.HandleFunc("/openapi.json", only(http.MethodGet, s.openapi))
	mux.HandleFunc("/healthz", only(http.MethodGet, s.healthz))
	mux.HandleFunc("/readyz", only(http.MethodGet, s.readyz))
	mux.HandleFunc("/prometheus", only(http.MethodGet, s.local(s.prometheus)))
	mux.HandleFunc("/metrics", only(http.MethodGet, s.local(s.prometheus)))
	if s.history != nil {
		mux.HandleFunc("/{$}", only(http.MethodGet, s.local(s.index)))
		mux.HandleFunc("/assets/", only(http.MethodGet, s.asset))
		mux.HandleFunc("/generations", only(http.MethodGet, s.local(s.generations)))
		mux.HandleFunc("/promotions/{ID}/history", only(http.MethodGet, s.local(s.promotionHistory)))
		mux.HandleFunc("/generations/{FROM}/diff/{TO}", only(http.MethodGet, s.local(s.diff)))
	}
	mux.HandleFunc("/", notFound)
	return s.answerEarly(web.ExactPaths(mux, notFound))
}

// howToUpload follows the error of a request that is probably meant as an upload.
const howToUpload = "; use POST: curl --form data=@FILE ADDRESS/upload"

// notFound answers a request for an unknown path. "curl -T FILE ADDRESS/upload/"
// sends PUT /upload/FILE.
func notFound(w http.ResponseWriter, r *http.Request) {
	text := "not found"
	if r.Method == http.MethodPut || r.Method == http.MethodPost || strings.HasPrefix(r.URL.Path, "/upload/") {
		text += howToUpload
	}
	reply(w, http.StatusNotFound, problem{Error: text})
}

// answerEarly sends the answers of next before the end of a body, unless it is the
// body of an upload, which upload reads.
func (s *Server) answerEarly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		isUpload := r.Method == http.MethodPost && r.URL.Path == "/upload"
		if r.ContentLength == 0 || isUpload || http.NewResponseController(w).EnableFullDuplex() != nil {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, r)
		s.linger(w)
	})
}

// local restricts next to the hosts that need no credentials.
func (s *Server) local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := s.auth.checkHost(r); err != nil {
			s.refusals.refuse(r, err)
			reply(w, http.StatusForbidden, problem{Error: s.pipeline.hintFor(err).appendTo(err.Error()), Reason: "unauthorized"})
			return
		}
		next(w, r)
	}
}

// only restricts next to the methods of allow, the value of the header Allow. GET
// includes HEAD.
func only(allow string, next http.HandlerFunc) http.HandlerFunc {
	methods := strings.Split(allow, ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		isGet := r.Method == http.MethodHead && allow == http.MethodGet
		if !slices.Contains(methods, r.Method) && !isGet {
			w.Header().Set("Allow", allow)
			text := "method not allowed"
			if r.URL.Path == "/upload" || r.URL.Path == "/" {
				text += howToUpload
			}
			reply(w, http.StatusMethodNotAllowed, problem{Error: text})
			return
		}
		next(w, r)
	}
}

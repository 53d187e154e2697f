// Package updater takes tables over HTTP and from a directory, and has the
// builder make generations of them, one at a time.
//
// An upload streams into the builder: it is never stored, and takes no more
// memory than the build. Its answer comes when the generation is published, and
// says so; when there is another answer, or none, nothing was published unless
// the client had gone while the file got its name.
//
// What it does not promise: that a command after publishing has run when the
// process was killed between the two, and to keep what it has done over a
// restart.
package updater

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

// What a client may take of the server, besides what it uploads.
const (
	headerTimeout  = 10 * time.Second // of a request
	answerTimeout  = 10 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 16 << 10
)

// Options says what to build, from what, and who may.
type Options struct {
	// Build is how to build: all but Inputs, Generation, Rejects, Observe and
	// Publishing, which are the updater's.
	Build builder.Options

	Inbox        string        // a directory to take tables from; empty: none
	Poll         time.Duration // how often to look there; 0: a second. A file is taken that has not changed over two looks
	MaxUpload    int64         // bytes of a body; 0: any number
	StallTimeout time.Duration // how long a client may take for minProgress bytes; 0: 30 s
	Keep         int           // generations, when one was published; 0: all
	Hook         string        // a command for the shell, when one was published; empty: none
	HookTimeout  time.Duration // 0: five minutes

	TokenFile  string // empty: uploads need no token
	ClientCert bool   // uploads need a certificate that the listener has verified

	Logger  *slog.Logger
	Version string // of the program, for the metrics
}

// A Server takes uploads on one listener, and files from the inbox. Safe for
// concurrent use.
type Server struct {
	opts    Options
	log     *slog.Logger
	http    *http.Server
	inbox   *inbox // nil: none
	hooks   *hooks // nil: none
	figures figures
	work    *workshop
	checker generation.Checker
	origins *http.CrossOriginProtection

	ctx       context.Context // of all builds; its cause says why it ended
	cancel    context.CancelCauseFunc
	running   sync.WaitGroup // the goroutines of inbox and hooks
	lingering sync.WaitGroup // connections that http has given up

	starting sync.Mutex // held while running begins, and while draining is set
	draining atomic.Bool
}

// errStopped is why builds end that Shutdown has cut off.
var errStopped = errors.New("the updater was stopped")

// New makes a server, and takes the inbox, if there is one, for itself. It
// creates the directory of the generations and removes what a killed build has
// left there. The end is Shutdown.
func New(opts Options) (*Server, error) {
	setDefault(&opts.Poll, time.Second)
	setDefault(&opts.StallTimeout, 30*time.Second)
	setDefault(&opts.HookTimeout, 5*time.Minute)
	s := &Server{opts: opts, log: opts.Logger, work: newWorkshop(), origins: http.NewCrossOriginProtection()}
	if opts.TokenFile != "" {
		if _, err := readTokens(opts.TokenFile); err != nil {
			return nil, err
		}
	}
	w, err := generation.OpenWriter(opts.Build.Dir)
	if err == nil {
		err = w.Close()
	}
	if err != nil && !errors.Is(err, generation.ErrLocked) { // a build that runs
		return nil, err
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if opts.Hook != "" {
		s.hooks = newHooks(s)
	}
	if opts.Inbox != "" {
		if s.inbox, err = newInbox(s, opts.Inbox); err != nil {
			return nil, err
		}
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       headerTimeout, // uploads set deadlines of their own
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

// Serve answers on ln, by TLS if config is not nil, and takes files from the
// inbox. It returns nil after Shutdown. To be called once.
func (s *Server) Serve(ln net.Listener, config *tls.Config) error {
	s.start()
	if config != nil {
		ln = tls.NewListener(ln, config)
	}
	err := s.http.Serve(ln)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// start begins to look into the inbox and to run commands, unless Shutdown was
// called first.
func (s *Server) start() {
	s.starting.Lock()
	defer s.starting.Unlock()
	if s.draining.Load() {
		return
	}
	if s.inbox != nil {
		s.running.Go(s.inbox.run)
	}
	if s.hooks != nil {
		s.running.Go(s.hooks.run)
	}
}

// Shutdown takes no more tables, and returns when the build that runs, and the
// commands behind it, are done. When ctx ends they are cut off, and nothing is
// left of the build.
func (s *Server) Shutdown(ctx context.Context) error {
	s.starting.Lock()
	s.draining.Store(true)
	s.starting.Unlock()
	s.work.close()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		s.work.wait()
		if s.hooks != nil {
			s.hooks.close() // the last build has added its own
		}
		s.running.Wait()
	}()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	s.cancel(errStopped)
	<-idle
	// What still has to be said to clients takes moments.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	err := s.http.Shutdown(last)
	s.lingering.Wait()
	if s.inbox != nil {
		err = errors.Join(err, s.inbox.close())
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/upload", s.only(http.MethodPost, s.upload))
	mux.HandleFunc("/status", s.only(http.MethodGet, s.status))
	mux.HandleFunc("/healthz", s.only(http.MethodGet, s.healthz))
	mux.HandleFunc("/readyz", s.only(http.MethodGet, s.readyz))
	mux.HandleFunc("/prometheus", s.only(http.MethodGet, s.prometheus))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusNotFound, problem{Error: "not found"})
	})
	return mux
}

// only lets one method pass; with GET comes HEAD.
func (s *Server) only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", method)
			fail(w, http.StatusMethodNotAllowed, problem{Error: "only " + method})
			return
		}
		next(w, r)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"promostore/cmd/internal/notify"
	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// grace is how long requests in flight may take after the drain. The read and
// write timeouts of the server end them earlier.
const grace = 30 * time.Second

// signalGap is how much later than the first a signal to stop must come to
// mean more. Who stops a process and then its group, as timeout does, sends
// two at once.
const signalGap = time.Second

var errSecondSignal = errors.New("stopped by a second signal, without waiting for requests in flight")

// stopSignals tells signals to stop that mean something from others. For one
// goroutine.
type stopSignals struct {
	signals <-chan os.Signal
	now     func() time.Time
	first   time.Time // when the first came
}

// isSecond reports whether sig, which came after the first, says not to wait.
func (s *stopSignals) isSecond(sig os.Signal) bool {
	return sig != syscall.SIGHUP && s.now().Sub(s.first) >= signalGap
}

// wait returns what comes from done, or errSecondSignal.
func (s *stopSignals) wait(done <-chan error) error {
	for {
		select {
		case err := <-done:
			return err
		case sig := <-s.signals:
			if s.isSecond(sig) {
				return errSecondSignal
			}
		}
	}
}

// serve runs the server until a signal ends it.
func serve(cfg config, log *slog.Logger, signals *stopSignals) error {
	if info, err := os.Stat(cfg.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data %s: %w", cfg.dir, syscall.ENOTDIR)
	}
	var certificates *web.Certificates
	var err error
	if cfg.certificates.Enabled() {
		if certificates, err = web.OpenCertificates(cfg.certificates); err != nil {
			return err
		}
	}
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return err
	}
	var operators *admin
	if cfg.admin != nil {
		if operators, err = listenAdmin(cfg.admin); err != nil {
			return errors.Join(err, ln.Close())
		}
		defer operators.close()
	}
	// Before anything else is logged, so that whoever waits for the address
	// misses nothing that comes after it.
	log.Info("serving", "address", ln.Addr().String(), "data", cfg.dir, "https", certificates != nil, "version", cfg.http.Version)
	if operators != nil {
		go operators.serve(log)
	}
	super := &supervisor{manager: notify.FromEnvironment(log)}
	var srv *httpd.Server // before the first event: Run comes later
	cfg.store.Notify = func(e reader.Event) {
		srv.Observe(e)
		super.observe(e)
	}
	store := reader.NewStore(cfg.dir, cfg.store)
	cfg.http.Store, cfg.http.Logger, cfg.http.Certificates = store, log, certificates
	srv = httpd.New(cfg.http)

	ctx, stopPolling := context.WithCancel(context.Background())
	defer stopPolling()
	nudge := make(chan struct{}, 1)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		store.Run(ctx, cfg.poll, nudge)
	}()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	go super.awaitEmpty(ctx, cfg.dir, cfg.poll)
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	go super.watch(watching, ln.Addr().String(), cfg.http.TLSOnly)

	err = untilStopped(srv, cfg.drain, log, signals, super, nudge, served)
	stopPolling()
	if errors.Is(err, errSecondSignal) {
		return err // what is in flight may never end
	}
	closed := make(chan error, 1)
	go func() {
		<-polled
		closed <- store.Close()
	}()
	err = errors.Join(err, signals.wait(closed))
	log.Info("stopped")
	return err
}

// untilStopped obeys signals until the server is shut down or fails.
func untilStopped(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals *stopSignals, super *supervisor, nudge chan<- struct{}, served <-chan error) error {
	for {
		select {
		case err := <-served:
			signals.first = signals.now()
			err = fmt.Errorf("listener: %w", err)
			super.stop(err.Error())
			return err
		case sig := <-signals.signals:
			if sig == syscall.SIGHUP {
				super.reload(srv.ReloadCertificates)
				select {
				case nudge <- struct{}{}:
				default: // one is waiting already
				}
				continue
			}
			signals.first = signals.now()
			srv.Drain()
			super.stop("draining")
			log.Info("draining", "signal", sig.String(), "drain_seconds", drain.Seconds())
			return shutdown(srv, drain, log, signals)
		}
	}
}

// shutdown stops the server once it has drained. A second signal cuts it short.
func shutdown(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals *stopSignals) error {
	drained := make(chan error, 1)
	timer := time.AfterFunc(drain, func() { drained <- nil })
	defer timer.Stop()
	if err := signals.wait(drained); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	err := signals.wait(done)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests cut off", "grace_seconds", grace.Seconds())
		return nil
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"promostore/cmd/internal/notify"
	"promostore/cmd/internal/program"
	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// grace bounds the time that running requests have after the drain. The read and
// write timeouts of the server end most of them earlier.
const grace = 30 * time.Second

// serve runs the server until a signal stops it.
func serve(opts serverOptions, log *slog.Logger, signals *program.Signals) error {
	if info, err := os.Stat(opts.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data %s: %w", opts.dir, syscall.ENOTDIR)
	}
	var certificates *web.Certificates // nil without HTTPS
	var err error
	if opts.certificates.Enabled() {
		if certificates, err = web.OpenCertificates(opts.certificates); err != nil {
			return err
		}
	}
	ln, err := program.Listen("listen", opts.listen, httpd.ListenConfig())
	if err != nil {
		return err
	}
	var operators *admin
	if opts.admin != nil {
		if operators, err = listenAdmin(opts.admin); err != nil {
			return errors.Join(err, ln.Close())
		}
		defer operators.close()
	}
	// This is the first line of the log, so that a script that waits for the
	// address misses no later line.
	log.Info("serving", "address", ln.Addr().String(), "data", opts.dir, "digits", opts.store.Digits.String(), "https", certificates != nil, "version", opts.http.Version)
	super := &supervisor{manager: notify.FromEnvironment(log)}
	var srv *httpd.Server // set before store.Run sends the first event
	opts.store.Notify = func(e reader.Event) {
		srv.Observe(e)
		super.observe(e)
	}
	store := reader.NewStore(opts.dir, opts.store)
	opts.http.Store, opts.http.Logger, opts.http.Certificates = store, log, certificates
	srv = httpd.New(opts.http)
	srv.SetLogSlow(opts.logSlow)
	if operators != nil {
		go operators.serve(srv, log)
	}

	ctx, stopPolling := context.WithCancel(context.Background())
	defer stopPolling()
	trigger := make(chan struct{}, 1)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		store.Run(ctx, opts.poll, trigger)
	}()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	watching, stopWatching := context.WithCancel(context.Background())
	defer stopWatching()
	go super.watch(watching, ln.Addr().String(), opts.http.TLSOnly)

	err = untilStopped(srv, opts.drain, log, signals, super, trigger, served)
	stopPolling()
	if errors.Is(err, program.ErrSecondSignal) {
		return err // running requests may never end, so the store cannot be closed
	}
	closed := make(chan error, 1)
	go func() {
		<-polled
		closed <- store.Close()
	}()
	err = errors.Join(err, signals.Wait(closed))
	log.Info("stopped")
	return err
}

// untilStopped handles signals until the server has shut down or failed.
func untilStopped(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals *program.Signals, super *supervisor, trigger chan<- struct{}, served <-chan error) error {
	for {
		select {
		case err := <-served:
			signals.Stopping()
			err = fmt.Errorf("listener: %w", err)
			super.stop(err.Error())
			return err
		case sig := <-signals.C:
			if !signals.Stops(sig) {
				super.reload(srv.ReloadCertificates)
				select {
				case trigger <- struct{}{}:
				default: // a poll is due already
				}
				continue
			}
			signals.Stopping()
			srv.Drain()
			super.stop("draining")
			log.Info("draining", "signal", sig.String(), "drain_seconds", drain.Seconds())
			return shutdown(srv, drain, log, signals)
		}
	}
}

// shutdown stops the server after the drain, or at once on a second signal.
func shutdown(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals *program.Signals) error {
	drained := make(chan error, 1)
	timer := time.AfterFunc(drain, func() { drained <- nil })
	defer timer.Stop()
	if err := signals.Wait(drained); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	err := signals.Wait(done)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("running requests cut off", "grace_seconds", grace.Seconds())
		return nil
	}
	return err
}

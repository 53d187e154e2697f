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

	"promostore/httpd"
	"promostore/reader"
)

// grace is how long requests in flight may take after the drain. The read and
// write timeouts of the server end them earlier.
const grace = 30 * time.Second

var errSecondSignal = errors.New("stopped by a second signal, without waiting for requests in flight")

// serve runs the server until a signal ends it.
func serve(cfg config, log *slog.Logger, signals <-chan os.Signal) error {
	var certificates *httpd.Certificates
	var err error
	switch {
	case cfg.selfSigned:
		certificates, err = httpd.SelfSigned()
	case cfg.certFile != "":
		certificates, err = httpd.LoadCertificates(cfg.certFile, cfg.keyFile)
	}
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return err
	}
	// Before anything else is logged, so that whoever waits for the address
	// misses nothing that comes after it.
	log.Info("serving", "address", ln.Addr().String(), "data", cfg.dir, "https", certificates != nil, "version", cfg.http.Version)
	var srv *httpd.Server // before the first event: Run comes later
	cfg.store.Notify = func(e reader.Event) { srv.Observe(e) }
	store := reader.NewStore(cfg.dir, cfg.store)
	cfg.http.Store, cfg.http.Logger, cfg.http.Certificates = store, log, certificates
	srv = httpd.New(cfg.http)

	ctx, stopPolling := context.WithCancel(context.Background())
	nudge := make(chan struct{}, 1)
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		store.Run(ctx, cfg.poll, nudge)
	}()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	err = untilStopped(srv, cfg.drain, log, signals, nudge, served)
	stopPolling()
	<-polled
	err = errors.Join(err, store.Close())
	log.Info("stopped")
	return err
}

// untilStopped obeys signals until the server is shut down or fails.
func untilStopped(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals <-chan os.Signal, nudge chan<- struct{}, served <-chan error) error {
	for {
		select {
		case err := <-served:
			return fmt.Errorf("listener: %w", err)
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				srv.ReloadCertificates()
				select {
				case nudge <- struct{}{}:
				default: // one is waiting already
				}
				continue
			}
			srv.Drain()
			log.Info("draining", "signal", sig.String(), "for", drain)
			return shutdown(srv, drain, log, signals)
		}
	}
}

// shutdown stops the server once it has drained. A second signal cuts it short.
func shutdown(srv *httpd.Server, drain time.Duration, log *slog.Logger, signals <-chan os.Signal) error {
	drained := time.NewTimer(drain)
	defer drained.Stop()
	if !wait(drained.C, signals) {
		return errSecondSignal
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	for {
		select {
		case err := <-done:
			if errors.Is(err, context.DeadlineExceeded) {
				log.Warn("requests cut off", "after", grace)
				return nil
			}
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return errSecondSignal
			}
		}
	}
}

// wait waits for the timer, or returns false on a signal to stop.
func wait(timer <-chan time.Time, signals <-chan os.Signal) bool {
	for {
		select {
		case <-timer:
			return true
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return false
			}
		}
	}
}

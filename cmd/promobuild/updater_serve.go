package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"

	"promostore/cmd/internal/notify"
	"promostore/cmd/internal/program"
	"promostore/updater"
	"promostore/web"
)

// serveUpdater runs the updater until a signal stops it or ctx ends.
func serveUpdater(ctx context.Context, opts updaterOptions, log *slog.Logger, signals *program.Signals) error {
	var certificates *web.Certificates // nil without HTTPS
	var config *tls.Config
	if opts.certificates.Enabled() {
		var err error
		if certificates, err = web.OpenCertificates(opts.certificates); err != nil {
			return err
		}
		certificates.WarnOfExpiry(log)
		config = certificates.Config()
	}
	opts.updater.Logger = log
	if warning := memoryWarning(opts.updater.Build.Memory); warning != "" {
		log.Warn(warning)
	}
	server, err := updater.New(opts.updater)
	if err != nil {
		return err
	}
	ln, err := program.Listen("listen", opts.listen, net.ListenConfig{})
	if err != nil {
		return errors.Join(err, server.Shutdown(ctx))
	}
	if host, _, _ := net.SplitHostPort(opts.listen); config == nil && opts.updater.TokenFile != "" && !program.IsLoopback(host) {
		log.Warn("tokens are sent over plain HTTP", "host", host)
	}
	log.Info("serving", "address", ln.Addr().String(), "data", opts.updater.Build.Dir, "https", config != nil, "version", opts.updater.Version)
	manager := notify.FromEnvironment(log)
	manager.Ready("accepting uploads")
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go manager.Watch(watching, server.Alive)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln, config) }()
	for {
		select {
		case err := <-served:
			return errors.Join(err, server.Shutdown(ctx))
		case <-ctx.Done():
			return stopUpdater(opts, server, log, manager, signals)
		case sig := <-signals.C:
			if signals.Stops(sig) {
				return stopUpdater(opts, server, log, manager, signals)
			}
			if certificates != nil {
				_ = certificates.Reload(log) // logs its error
			}
		}
	}
}

// stopUpdater lets a running build continue for the drain. A second signal stops
// the build, which then cleans up.
func stopUpdater(opts updaterOptions, server *updater.Server, log *slog.Logger, manager *notify.Manager, signals *program.Signals) error {
	signals.Stopping()
	manager.Stopping("waiting for the running build")
	log.Info("stopping", "drain_seconds", opts.drain.Seconds())
	ctx, cancel := context.WithTimeout(context.Background(), opts.drain)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(ctx) }()
	err := signals.Wait(stopped)
	if errors.Is(err, program.ErrSecondSignal) {
		cancel()
		err = <-stopped
	}
	log.Info("stopped")
	return err
}

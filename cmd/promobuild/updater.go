package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/notify"
	"promostore/cmd/internal/program"
	"promostore/updater"
	"promostore/web"
)

const (
	updaterPort = "1322"

	// signalGap is how much later than the first a signal to stop must come to
	// end the process at once: some send two for one.
	signalGap = time.Second
)

func updaterCommand() *cli.Command {
	command := &cli.Command{
		Name:      "updater",
		Usage:     "take tables over HTTP and from a directory, and build them",
		ArgsUsage: " ",
		Description: `Serves POST /upload, which builds a generation of a CSV, plain, gzip or zstd,
and answers when it is published. With --inbox it builds the files that are
moved into a directory, too. GET /status tells how it goes; /healthz, /readyz
and /prometheus are there as well, and need no token.

Without --token-file and --tls-client-ca it listens on loopback only.

Example:
   promobuild updater --data /srv/promotions --inbox /srv/inbox --keep 3
   curl --form data=@promotions.csv http://localhost:1322/upload
   zstd -c promotions.csv | curl -T - -X POST http://localhost:1322/upload

Every flag is an environment variable too: --token-file is PROMO_TOKEN_FILE.

Signals:
   SIGHUP            read the certificate again
   SIGTERM, SIGINT   take nothing new, give the build that runs --drain to end, and
                     exit; one more, a second or more after the first, ends at once`,
		Flags: append(tableFlags(),
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` to listen on", DefaultText: ":1322; 127.0.0.1:1322 if anybody may upload"},
			&cli.PathFlag{Name: "inbox", Usage: "`DIR` to take tables from; they end in done/ or failed/ below it"},
			&cli.PathFlag{Name: "token-file", Usage: "`FILE` with the tokens that may upload, one a line; read again for each upload"},
			&cli.PathFlag{Name: "tls-cert", Usage: "`FILE` with the certificate and its chain, PEM; turns https on, and http off"},
			&cli.PathFlag{Name: "tls-key", Usage: "`FILE` with the certificate's key, PEM"},
			&cli.BoolFlag{Name: "tls-self-signed", Usage: "turn https on with a certificate made at the start"},
			&cli.PathFlag{Name: "tls-client-ca", Usage: "`FILE` with the authorities whose certificates may upload, PEM"},
			&cli.BoolFlag{Name: "insecure", Usage: "let everybody upload who can reach --listen"},
			&cli.StringFlag{Name: "max-upload", Value: "1TiB", Usage: "refuse uploads of more than `SIZE`, as they are sent"},
			&cli.DurationFlag{Name: "stall-timeout", Value: 30 * time.Second, Usage: "cut clients off that send less than 16 KiB in `TIME`"},
			&cli.IntFlag{Name: "keep", Usage: "after publishing, remove all but the newest `N` generations", DefaultText: "all"},
			&cli.StringFlag{Name: "after-publish", Usage: "run the shell's `COMMAND` after publishing, with PROMO_GENERATION, PROMO_FILE, PROMO_RECORDS and PROMO_DATA"},
			&cli.DurationFlag{Name: "hook-timeout", Value: 5 * time.Minute, Usage: "end that command after `TIME`"},
			&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "`TIME` that a build which runs has after SIGTERM"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "log from `debug|info|warn|error` on"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "log as `text|json`"},
		),
		Action: runUpdater,
	}
	for _, f := range command.Flags {
		program.WithEnv(f)
	}
	return command
}

// updaterConfig is what the flags say.
type updaterConfig struct {
	listen       string
	certificates web.CertificateOptions
	drain        time.Duration
	updater      updater.Options
}

func updaterConfigOf(c *cli.Context) (updaterConfig, error) {
	var cfg updaterConfig
	if _, err := wantArgs(c, 0, 0); err != nil {
		return cfg, err
	}
	table, err := tableOptions(c)
	if err != nil {
		return cfg, err
	}
	cfg = updaterConfig{
		listen: c.String("listen"),
		drain:  c.Duration("drain"),
		updater: updater.Options{
			Build:        table,
			Inbox:        c.Path("inbox"),
			StallTimeout: c.Duration("stall-timeout"),
			Keep:         c.Int("keep"),
			Hook:         c.String("after-publish"),
			HookTimeout:  c.Duration("hook-timeout"),
			TokenFile:    c.Path("token-file"),
			ClientCert:   c.Path("tls-client-ca") != "",
			Hint:         hint,
			Version:      program.Version(),
		},
	}
	size, err := humanize.ParseBytes(c.String("max-upload"))
	if err != nil || size < 1 || size > math.MaxInt64 {
		return cfg, usagef("updater: --max-upload %q is no size such as 100GiB", c.String("max-upload"))
	}
	cfg.updater.MaxUpload = int64(size)
	if cfg.certificates, err = program.CertificateOptions(c); err != nil {
		return cfg, usagef("updater: %v", err)
	}
	return cfg, cfg.check(c.Bool("insecure"))
}

// check fills in the address and refuses what contradicts itself.
func (cfg *updaterConfig) check(insecure bool) error {
	open := cfg.updater.TokenFile == "" && !cfg.updater.ClientCert
	if cfg.listen == "" {
		cfg.listen = ":" + updaterPort
		if open && !insecure {
			cfg.listen = "127.0.0.1:" + updaterPort
		}
	}
	if err := program.CheckAddress(cfg.listen); err != nil {
		return usagef("updater: --listen %q: %v", cfg.listen, err)
	}
	switch {
	case open && !insecure && !isLoopback(cfg.listen):
		return usagef("updater: --listen %q lets everybody upload who can reach it: it needs --token-file or --tls-client-ca, or --insecure", cfg.listen)
	case cfg.updater.StallTimeout <= 0:
		return usagef("updater: --stall-timeout %s is not positive", cfg.updater.StallTimeout)
	case cfg.updater.HookTimeout <= 0:
		return usagef("updater: --hook-timeout %s is not positive", cfg.updater.HookTimeout)
	case cfg.updater.Keep < 0:
		return usagef("updater: --keep %d is negative", cfg.updater.Keep)
	case cfg.drain < 0:
		return usagef("updater: --drain %s is negative", cfg.drain)
	}
	return nil
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

func runUpdater(c *cli.Context) error {
	cfg, err := updaterConfigOf(c)
	if err != nil {
		return err
	}
	log, err := program.Logger(c, c.App.ErrWriter)
	if err != nil {
		return usagef("updater: %v", err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cfg.serve(c.Context, log, signals); err != nil {
		return fmt.Errorf("updater: %w", err)
	}
	return nil
}

func (cfg *updaterConfig) serve(ctx context.Context, log *slog.Logger, signals <-chan os.Signal) error {
	var certificates *web.Certificates // nil: plain http
	var config *tls.Config
	if cfg.certificates.Enabled() {
		var err error
		if certificates, err = web.OpenCertificates(cfg.certificates); err != nil {
			return err
		}
		certificates.WarnOfExpiry(log)
		config = certificates.Config()
	}
	cfg.updater.Logger = log
	server, err := updater.New(cfg.updater)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", cfg.listen)
	if err != nil {
		return errors.Join(err, server.Shutdown(ctx))
	}
	if host, _, _ := net.SplitHostPort(cfg.listen); config == nil && cfg.updater.TokenFile != "" && !isLoopback(cfg.listen) {
		log.Warn("tokens come over plain http", "host", host)
	}
	log.Info("serving", "address", ln.Addr().String(), "data", cfg.updater.Build.Dir, "https", config != nil, "version", cfg.updater.Version)
	manager := notify.FromEnvironment(log)
	manager.Ready("taking tables")
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
			return cfg.stop(server, log, manager, signals)
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				return cfg.stop(server, log, manager, signals)
			}
			if certificates != nil {
				_ = certificates.Reload(log) // logs its error
			}
		}
	}
}

// stop lets the build that runs end within the drain, or a second signal.
func (cfg *updaterConfig) stop(server *updater.Server, log *slog.Logger, manager *notify.Manager, signals <-chan os.Signal) error {
	first := time.Now()
	manager.Stopping("waiting for the build that runs")
	log.Info("stopping", "drain_seconds", cfg.drain.Seconds())
	ctx, cancel := context.WithTimeout(context.Background(), cfg.drain)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(ctx) }()
	for {
		select {
		case err := <-stopped:
			log.Info("stopped")
			return err
		case sig := <-signals:
			if sig != syscall.SIGHUP && time.Since(first) >= signalGap {
				cancel() // what is cut off still cleans up
			}
		}
	}
}

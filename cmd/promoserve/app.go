package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks errors that are the caller's: a wrong flag or argument.
var errUsage = errors.New("wrong usage")

const description = `Serves the newest generation of a directory, and the next one as soon as it
appears. The directory may be empty, or not be there yet.

Examples:
   promoserve --data /srv/promotions
   promoserve --tls-self-signed                           http and https on :1321
   promoserve --tls-cert cert.pem --tls-key key.pem --tls-only
   PROMO_LISTEN=127.0.0.1:8080 PROMO_LOG_FORMAT=json promoserve

   curl http://localhost:1321/promotions/172FFC14-D229-4C93-B06B-F48B8C095512
   curl http://localhost:1321/promotions/lookup --data '{"ids":["172FFC14-D229-4C93-B06B-F48B8C095512"]}'

Signals:
   SIGHUP            look for a new generation now, and read the certificate again
   SIGTERM, SIGINT   answer /readyz with 503, serve on for --drain, finish what is
                     in flight and exit; one more, a second or more after the
                     first, ends at once

Exit codes: 0 stopped by a signal, 1 the work failed, 2 wrong usage.`

// environment is what the program meets the world through.
type environment struct {
	stdout, stderr io.Writer
	signals        <-chan os.Signal
	now            func() time.Time
}

// run is the program; args has its name first. It returns the exit code.
func run(args []string, env environment) int {
	err := newApp(env).Run(args)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		fmt.Fprintf(env.stderr, "promoserve: %v\nSee promoserve --help.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(env.stderr, "promoserve: %v\n", err)
		return exitFailed
	}
}

func newApp(env environment) *cli.App {
	onUsageError := func(_ *cli.Context, err error, _ bool) error {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	app := &cli.App{
		Name:                 "promoserve",
		Usage:                "answer for promotions over HTTP",
		UsageText:            "promoserve [flags]",
		Description:          description,
		Version:              program.Version(),
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		Writer:               env.stdout,
		ErrWriter:            env.stderr,
		ExitErrHandler:       func(*cli.Context, error) {},
		OnUsageError:         onUsageError,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "data", Value: "./data", Usage: "`DIR` of the generations"},
			&cli.StringFlag{Name: "listen", Value: ":1321", Usage: "`ADDRESS` to listen on"},
			&cli.PathFlag{Name: "tls-cert", Usage: "`FILE` with the certificate and its chain, PEM; turns https on"},
			&cli.PathFlag{Name: "tls-key", Usage: "`FILE` with the certificate's key, PEM"},
			&cli.BoolFlag{Name: "tls-self-signed", Usage: "turn https on with a certificate made at the start"},
			&cli.BoolFlag{Name: "tls-only", Usage: "refuse plain http on the port of https"},
			&cli.DurationFlag{Name: "poll", Value: time.Second, Usage: "look for a new generation every `INTERVAL`"},
			&cli.StringFlag{Name: "verify", Value: "full", Usage: "check `full|index` of a generation before it goes live"},
			&cli.StringFlag{Name: "access", Value: "auto", Usage: "read through `auto|mmap|pread`; auto goes by the memory there is"},
			&cli.StringFlag{Name: "date-format", Value: "wall", Usage: "give dates as `wall|source|utc|rfc3339`"},
			&cli.IntFlag{Name: "price-decimals", Value: -1, DefaultText: "as written", Usage: "cut prices off after `N` decimals"},
			&cli.DurationFlag{Name: "drain", Value: 5 * time.Second, Usage: "`TIME` to serve on after SIGTERM"},
			&cli.IntFlag{Name: "max-conns-per-ip", DefaultText: "no limit", Usage: "refuse more than `N` connections from one address"},
			&cli.StringFlag{Name: "admin-listen", DefaultText: "off", Usage: "profiles and /version on `ADDRESS`, of the loopback interface"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "log from `debug|info|warn|error` on"},
			&cli.StringFlag{Name: "log-format", Value: "text", Usage: "log as `text|json`"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, c.Args().First())
			}
			cfg, err := configOf(c)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			log, err := program.Logger(c, env.stderr)
			if err != nil {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			return serve(cfg, log, &stopSignals{signals: env.signals, now: env.now})
		},
		Commands: []*cli.Command{
			healthCommand(),
			program.CompletionCommand("promoserve", func(reason string) error { return fmt.Errorf("%w: %s", errUsage, reason) }),
		},
	}
	for _, f := range app.Flags {
		program.WithEnv(f)
	}
	for _, c := range app.Commands {
		c.OnUsageError = onUsageError
	}
	return app
}

// config is what the flags say.
type config struct {
	dir    string
	listen string
	poll   time.Duration
	drain  time.Duration
	admin  *net.TCPAddr        // nil: none
	store  reader.StoreOptions // without Notify
	http   httpd.Options       // without Store, Logger and Certificates

	certificates web.CertificateOptions
}

func configOf(c *cli.Context) (config, error) {
	cfg := config{
		dir:    c.Path("data"),
		listen: c.String("listen"),
		poll:   c.Duration("poll"),
		drain:  c.Duration("drain"),
	}
	cfg.http.TLSOnly = c.Bool("tls-only")
	cfg.http.MaxConnsPerIP = c.Int("max-conns-per-ip")
	cfg.http.Version = c.App.Version
	cfg.http.JSON.Decimals = c.Int("price-decimals")

	switch verify := c.String("verify"); verify {
	case "full":
	case "index":
		cfg.store.IndexOnly = true
	default:
		return config{}, fmt.Errorf("--verify %q is neither full nor index", verify)
	}
	switch access := c.String("access"); access {
	case "auto":
		cfg.store.Access = reader.AccessAuto
	case "mmap":
		cfg.store.Access = reader.AccessMmap
	case "pread":
		cfg.store.Access = reader.AccessPread
	default:
		return config{}, fmt.Errorf("--access %q is none of auto, mmap and pread", access)
	}
	var err error
	if cfg.http.JSON.Date, err = format.ParseDateFormat(c.String("date-format")); err != nil {
		return config{}, fmt.Errorf("--date-format: %w", err)
	}
	if err := program.CheckAddress(cfg.listen); err != nil {
		return config{}, fmt.Errorf("--listen %q: %w", cfg.listen, err)
	}
	if cfg.certificates, err = program.CertificateOptions(c); err != nil {
		return config{}, err
	}
	if address := c.String("admin-listen"); address != "" {
		if cfg.admin, err = adminAddress(address); err != nil {
			return config{}, fmt.Errorf("--admin-listen %q: %w", address, err)
		}
	}
	switch {
	case cfg.dir == "":
		return config{}, errors.New("--data is empty")
	case cfg.http.TLSOnly && !cfg.certificates.Enabled():
		return config{}, errors.New("--tls-only needs --tls-cert and --tls-key, or --tls-self-signed")
	case cfg.poll <= 0:
		return config{}, fmt.Errorf("--poll %s is not positive", cfg.poll)
	case cfg.drain < 0:
		return config{}, fmt.Errorf("--drain %s is negative", cfg.drain)
	case cfg.http.MaxConnsPerIP < 0:
		return config{}, fmt.Errorf("--max-conns-per-ip %d is negative", cfg.http.MaxConnsPerIP)
	case c.IsSet("price-decimals") && cfg.http.JSON.Decimals < 0:
		return config{}, fmt.Errorf("--price-decimals %d is negative", cfg.http.JSON.Decimals)
	}
	return cfg, nil
}

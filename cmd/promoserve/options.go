package main

import (
	"net"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

func serverFlags() []cli.Flag {
	flags := slices.Concat(
		[]cli.Flag{
			&cli.PathFlag{Name: "data", Value: "./data", Usage: "serve the generations in `DIR`"},
			&cli.StringFlag{Name: "listen", Value: ":1321", Usage: "listen on `ADDRESS`"},
		},
		program.CertificateFlags("enable HTTPS on the same port"),
		[]cli.Flag{
			&cli.BoolFlag{Name: "tls-only", Usage: "refuse HTTP"},
			&cli.DurationFlag{Name: "poll", Value: time.Second, Usage: "look for a new generation every `DURATION`"},
			&cli.StringFlag{Name: "verify", Value: "full", Usage: "how much of a generation to verify before it becomes live: `full|index`"},
			&cli.StringFlag{Name: "access", Value: "auto", Usage: "how to read a generation: `auto|mmap|pread`; auto maps a file that fits into memory"},
			&cli.StringFlag{Name: "digits", DefaultText: "all", Usage: "of sharded generations, serve only the IDs whose deciding hex digit is in `DIGITS`, such as 0-7 or 0,4,8,c"},
			&cli.StringFlag{Name: "date-format", Value: "wall", Usage: "format of dates: `wall|source|utc|rfc3339`; wall is the wall clock without a zone, source the text of the CSV"},
			&cli.IntFlag{Name: "price-decimals", Value: -1, DefaultText: "as in the CSV", Usage: "truncate prices to `N` decimals, without rounding"},
			&cli.StringFlag{Name: "cache-control", DefaultText: "none", Usage: "send `VALUE` as Cache-Control with promotions, such as \"public, max-age=60\", and no-store with 404"},
			&cli.DurationFlag{Name: "drain", Value: 5 * time.Second, Usage: "serve for `DURATION` after SIGTERM"},
			&cli.DurationFlag{Name: "log-slow", Value: -1, DefaultText: "off", Usage: "log requests that take `DURATION` or longer, at most 100 a second; 0s logs every request"},
			&cli.IntFlag{Name: "max-conns-per-ip", DefaultText: "no limit", Usage: "refuse more than `N` connections from one IP address"},
			program.PageFlag(),
			&cli.StringFlag{Name: "admin-listen", DefaultText: "off", Usage: "serve profiles, /version and the full /status on `ADDRESS` of the loopback interface"},
		},
		program.LogFlags(),
	)
	program.WithEnv(flags)
	return flags
}

// serverOptions holds the values of the flags.
type serverOptions struct {
	dir          string
	listen       string
	poll         time.Duration
	drain        time.Duration
	logSlow      time.Duration // negative: off
	admin        *net.TCPAddr  // nil without --admin-listen
	certificates web.CertificateOptions
	store        reader.StoreOptions // without Notify
	http         httpd.Options       // without Store, Logger and Certificates
}

func serverOptionsOf(c *cli.Context) (serverOptions, error) {
	opts := serverOptions{
		dir:    c.Path("data"),
		listen: c.String("listen"),
		poll:   c.Duration("poll"),
		drain:  c.Duration("drain"),

		logSlow: c.Duration("log-slow"),
	}
	opts.http.TLSOnly = c.Bool("tls-only")
	opts.http.Page = c.String("page") == "on"
	opts.http.MaxConnsPerIP = c.Int("max-conns-per-ip")
	opts.http.Version = c.App.Version
	opts.http.JSON.Decimals = c.Int("price-decimals")

	opts.store.IndexOnly = c.String("verify") == "index"
	opts.store.Access = map[string]reader.Access{
		"auto": reader.AccessAuto, "mmap": reader.AccessMmap, "pread": reader.AccessPread,
	}[c.String("access")]
	var err error
	opts.store.Digits = generation.AllDigits
	if text := c.String("digits"); text != "" {
		if opts.store.Digits, err = generation.ParseDigits(text); err != nil {
			return opts, program.Usagef("--%v", err) // the error begins with the name
		}
	}
	if opts.http.JSON.Date, err = format.ParseDateFormat(c.String("date-format")); err != nil {
		return opts, program.Usagef("--date-format: %v", err)
	}
	if err := program.CheckAddress(opts.listen); err != nil {
		return opts, program.Usagef("--listen %q: %v", opts.listen, err)
	}
	if opts.http.CacheControl = c.String("cache-control"); opts.http.CacheControl != "" {
		if err := httpd.CheckCacheControl(opts.http.CacheControl); err != nil {
			return opts, program.Usagef("--cache-control: %v", err)
		}
	}
	if address := c.String("admin-listen"); address != "" {
		if opts.admin, err = adminAddress(address); err != nil {
			return opts, program.Usagef("--admin-listen %q: %v", address, err)
		}
	}
	if opts.certificates, err = program.CertificateOptions(c); err != nil {
		return opts, err
	}
	return opts, opts.check(c)
}

// check returns a usage error for values that make no sense.
func (o *serverOptions) check(c *cli.Context) error {
	switch {
	case o.dir == "":
		return program.Usagef("--data is empty")
	case o.http.TLSOnly && !o.certificates.Enabled():
		return program.Usagef("--tls-only needs --tls-cert and --tls-key, or --tls-self-signed")
	case o.poll <= 0:
		return program.Usagef("--poll %s is not positive", o.poll)
	case o.drain < 0:
		return program.Usagef("--drain %s is negative", o.drain)
	case c.IsSet("log-slow") && o.logSlow < 0:
		return program.Usagef("--log-slow %s is negative", o.logSlow)
	case o.http.MaxConnsPerIP < 0:
		return program.Usagef("--max-conns-per-ip %d is negative", o.http.MaxConnsPerIP)
	case c.IsSet("price-decimals") && o.http.JSON.Decimals < 0:
		return program.Usagef("--price-decimals %d is negative", o.http.JSON.Decimals)
	}
	return nil
}

package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/updater"
	"promostore/web"
)

const updaterPort = "1322"

func updaterCommand() *cli.Command {
	flags := slices.Concat(
		buildFlags(),
		[]cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "listen on `ADDRESS`", DefaultText: ":1322; 127.0.0.1:1322 if uploads need no credentials"},
			&cli.PathFlag{Name: "inbox", Usage: "build the files that are moved into `DIR`, then move them to done/ or failed/ in it"},
			&cli.StringFlag{Name: "inbox-match", Usage: "build only files of --inbox whose names match `GLOB`, such as *.csv*", DefaultText: "any name but those of incomplete files and markers"},
			&cli.DurationFlag{Name: "inbox-quiet", Value: 30 * time.Second, Usage: "build a file of --inbox after `DURATION` without a change, if another user owns it or it has no content yet"},
			&cli.PathFlag{Name: "token-file", Usage: "require a token from `FILE` for uploads; one token per line, read for each upload"},
		},
		program.CertificateFlags("accept HTTPS instead of HTTP"),
		[]cli.Flag{
			&cli.PathFlag{Name: "tls-client-ca", Usage: "require a client certificate of a PEM authority in `FILE` for uploads"},
			&cli.BoolFlag{Name: "insecure", Usage: "accept uploads without credentials on any address"},
			&cli.StringFlag{Name: "allowed-host", Usage: "accept requests without credentials for these host `NAMES` too, separated by commas, besides localhost and the addresses of this machine"},
			&cli.StringFlag{Name: "max-upload", Value: "1TiB", Usage: "refuse an upload of more than `SIZE`, before decompression"},
			&cli.DurationFlag{Name: "stall-timeout", Value: 30 * time.Second, Usage: "disconnect a client that sends less than 16 KiB in `DURATION`"},
			&cli.IntFlag{Name: "keep", Usage: "after publishing, keep `N` generations and remove older ones", DefaultText: "all"},
			&cli.StringFlag{Name: "after-publish", Usage: "run the shell `COMMAND` after publishing, with PROMO_GENERATION, PROMO_FILE, PROMO_SHARDS, PROMO_RECORDS and PROMO_DATA set"},
			&cli.DurationFlag{Name: "hook-timeout", Value: 5 * time.Minute, Usage: "kill the command of --after-publish after `DURATION`"},
			program.PageFlag(),
			&cli.DurationFlag{Name: "drain", Value: 30 * time.Second, Usage: "let a running build continue for `DURATION` after SIGTERM"},
		},
		program.LogFlags(),
	)
	program.WithEnv(flags)
	return &cli.Command{
		Name:  "updater",
		Usage: "build generations from uploads and from a directory",
		Description: `Accept POST /upload, build a generation from its CSV and answer when it is
published, or when it has arrived if the request has "Prefer: respond-async". The
CSV may be plain, gzip or zstd. With --inbox, also build the files that are moved
into a directory. GET /healthz, /readyz and /metrics need no credentials, and
GET /status is short without them.

Uploads without --token-file and --tls-client-ca need no credentials. The updater
then listens on the loopback interface only, unless --insecure is set, and accepts
only the host names of --allowed-host besides localhost and its own addresses.

Examples:
   promobuild updater --data /srv/promotions --inbox /srv/inbox --keep 3
   curl --form data=@promotions.csv http://localhost:1322/upload
   zstd -c promotions.csv | curl -T - -X POST http://localhost:1322/upload

Signals:
   SIGHUP            read the certificate again; stop like SIGTERM if the terminal of
                     the updater was closed
   SIGTERM, SIGINT   refuse uploads, let a running build continue for --drain, and
                     exit; one more, a second or more after the first, stops the
                     build at once`,
		Flags:  flags,
		Action: runUpdater,
	}
}

// updaterOptions holds the values of the flags.
type updaterOptions struct {
	listen       string
	certificates web.CertificateOptions
	drain        time.Duration
	updater      updater.Options
}

func updaterOptionsOf(c *cli.Context) (updaterOptions, error) {
	buildOpts, err := buildOptions(c)
	if err != nil {
		return updaterOptions{}, err
	}
	opts := updaterOptions{
		listen: c.String("listen"),
		drain:  c.Duration("drain"),
		updater: updater.Options{
			Build:        buildOpts,
			Inbox:        c.Path("inbox"),
			InboxMatch:   c.String("inbox-match"),
			InboxQuiet:   c.Duration("inbox-quiet"),
			StallTimeout: c.Duration("stall-timeout"),
			Keep:         c.Int("keep"),
			Hook:         c.String("after-publish"),
			HookTimeout:  c.Duration("hook-timeout"),
			TokenFile:    c.Path("token-file"),
			ClientCert:   c.Path("tls-client-ca") != "",
			AllowedHosts: strings.FieldsFunc(c.String("allowed-host"), func(r rune) bool { return r == ',' }),
			Hint:         uploadHint,
			Page:         c.String("page") == "on",
			Version:      program.Version(),
		},
	}
	var ok bool
	if opts.updater.MaxUpload, ok = size(c.String("max-upload")); !ok {
		return opts, program.Usagef("--max-upload %q is not a size such as 100GiB", c.String("max-upload"))
	}
	if opts.updater.MaxUpload < 1 {
		return opts, program.Usagef("--max-upload %s allows no upload; write a size such as 100GiB", c.String("max-upload"))
	}
	if opts.certificates, err = program.CertificateOptions(c); err != nil {
		return opts, err
	}
	return opts, opts.check(c.Bool("insecure"))
}

// check sets the default address and returns a usage error for values that make
// no sense.
func (o *updaterOptions) check(insecure bool) error {
	open := o.updater.TokenFile == "" && !o.updater.ClientCert
	if o.listen == "" {
		o.listen = ":" + updaterPort
		if open && !insecure {
			o.listen = "127.0.0.1:" + updaterPort
		}
	}
	if inbox := o.updater.Inbox; isFile(inbox) {
		return fmt.Errorf("--inbox %s: %w", inbox, syscall.ENOTDIR)
	}
	if err := program.CheckAddress(o.listen); err != nil {
		return program.Usagef("--listen %q: %v", o.listen, err)
	}
	if err := updater.CheckInboxMatch(o.updater.InboxMatch); err != nil {
		return program.Usagef("--inbox-match: %v", err)
	}
	host, _, _ := net.SplitHostPort(o.listen)
	for _, name := range o.updater.AllowedHosts {
		if strings.ContainsAny(name, "/: ") {
			return program.Usagef("--allowed-host %q is not the name of a host, without a scheme and a port", name)
		}
	}
	switch {
	case open && !insecure && !program.IsLoopback(host):
		return program.Usagef("--listen %q accepts uploads without credentials; add --token-file, --tls-client-ca or --insecure", o.listen)
	case o.updater.StallTimeout <= 0:
		return program.Usagef("--stall-timeout %s is not positive", o.updater.StallTimeout)
	case o.updater.InboxQuiet <= 0:
		return program.Usagef("--inbox-quiet %s is not positive", o.updater.InboxQuiet)
	case o.updater.HookTimeout <= 0:
		return program.Usagef("--hook-timeout %s is not positive", o.updater.HookTimeout)
	case o.updater.Keep < 0:
		return program.Usagef("--keep %d is negative", o.updater.Keep)
	case o.drain < 0:
		return program.Usagef("--drain %s is negative", o.drain)
	}
	return nil
}

func runUpdater(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	opts, err := updaterOptionsOf(c)
	if err != nil {
		return err
	}
	signals, stop := program.NotifySignals()
	defer stop()
	return serveUpdater(c.Context, opts, program.Logger(c, c.App.ErrWriter), signals)
}

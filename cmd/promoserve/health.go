package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
)

// healthCommand returns the health check for container engines: the image of
// this program contains no shell and no curl.
func healthCommand() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "check whether a server is ready",
		Description: `Exit with 0 if the server answers /readyz, or /healthz, with 200. Exit with 1
and print the reason if it does not. PROMO_LISTEN and PROMO_TLS_ONLY select the
server on this host. The certificate is checked only if --url names another
host.

Examples:
   promoserve health
   promoserve health --live --timeout 1s
   promoserve health --url https://10.0.0.7:1321/readyz
   HEALTHCHECK CMD ["/promoserve", "health"]              in a Dockerfile`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "check `URL`; without a path, its /readyz or /healthz"},
			&cli.StringFlag{Name: "listen", DefaultText: "the address of the server", Usage: "check the server that listens on `ADDRESS`"},
			&cli.BoolFlag{Name: "tls-only", Usage: "use HTTPS"},
			&cli.BoolFlag{Name: "live", Usage: "check /healthz instead of /readyz"},
			&cli.DurationFlag{Name: "timeout", Value: 3 * time.Second, Usage: "wait for `DURATION` at most"},
		},
		Action: health,
	}
}

func health(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	p, err := probeOf(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	code, body, err := p.do(ctx)
	if err != nil {
		return err
	}
	if code != http.StatusOK {
		return fmt.Errorf("%s: %d %s", p.url, code, body)
	}
	return nil
}

// probeOf returns the probe that the flags describe.
func probeOf(c *cli.Context) (probe, error) {
	if timeout := c.Duration("timeout"); timeout <= 0 {
		return probe{}, program.Usagef("--timeout %s is not positive", timeout)
	}
	path := "/readyz"
	if c.Bool("live") {
		path = "/healthz"
	}
	if text := c.String("url"); text != "" {
		p, err := remoteProbe(text, path)
		if err != nil {
			return p, program.Usagef("--url %q: %v", text, err)
		}
		return p, nil
	}
	server := c.Lineage()[1] // has the flags of the server, and their environment
	address := c.String("listen")
	if address == "" {
		address = server.String("listen")
	}
	if err := program.CheckAddress(address); err != nil {
		return probe{}, program.Usagef("--listen %q: %v", address, err)
	}
	return localProbe(address, path, c.Bool("tls-only") || server.Bool("tls-only")), nil
}

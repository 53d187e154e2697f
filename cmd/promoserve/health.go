package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
)

// healthCommand asks a server how it is, for container engines: an image of
// this program has no shell and no curl.
func healthCommand() *cli.Command {
	return &cli.Command{
		Name:            "health",
		Usage:           "ask a server whether it is ready",
		HideHelpCommand: true,
		Description: `Exits with 0 if the server answers /readyz, or /healthz, with 200, and with 1
and the reason if not. The server is the one that PROMO_LISTEN and
PROMO_TLS_ONLY tell of, at this host. A certificate is checked only where
--url names another host.

Examples:
   promoserve health
   promoserve health --live --timeout 1s
   promoserve health --url https://10.0.0.7:1321/readyz
   HEALTHCHECK CMD ["/promoserve", "health"]              in a Dockerfile`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "url", Usage: "ask `URL`; without a path, its /readyz or /healthz"},
			&cli.StringFlag{Name: "listen", DefaultText: "as the server's", Usage: "`ADDRESS` that the server listens on"},
			&cli.BoolFlag{Name: "tls-only", Usage: "the server refuses plain http"},
			&cli.BoolFlag{Name: "live", Usage: "ask /healthz: whether it lives, not whether it is ready"},
			&cli.DurationFlag{Name: "timeout", Value: 3 * time.Second, Usage: "wait for `TIME` at most"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: health: unexpected argument %q", errUsage, c.Args().First())
			}
			p, err := probeOf(c)
			if err != nil {
				return fmt.Errorf("%w: health: %w", errUsage, err)
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			if code, body, err := p.ask(ctx); err != nil {
				return fmt.Errorf("health: %w", err)
			} else if code != http.StatusOK {
				return fmt.Errorf("health: %s: %d %s", p.url, code, body)
			}
			return nil
		},
	}
}

// A probe asks one URL, by a request written by hand: a server at its limits
// answers before it was asked, which a Transport takes for no answer.
type probe struct {
	url      *url.URL
	address  string // to connect to
	insecure bool   // take any certificate
}

var (
	errNoAnswer  = errors.New("no answer in time")
	errPlainHTTP = errors.New("an answer in plain http to a request in https")
)

func probeOf(c *cli.Context) (probe, error) {
	if timeout := c.Duration("timeout"); timeout <= 0 {
		return probe{}, fmt.Errorf("--timeout %s is not positive", timeout)
	}
	path := "/readyz"
	if c.Bool("live") {
		path = "/healthz"
	}
	if text := c.String("url"); text != "" {
		return remoteProbe(text, path)
	}
	server := c.Lineage()[1] // has the flags of the server, and their environment
	address := c.String("listen")
	if address == "" {
		address = server.String("listen")
	}
	if err := program.CheckAddress(address); err != nil {
		return probe{}, fmt.Errorf("--listen %q: %w", address, err)
	}
	return localProbe(address, path, c.Bool("tls-only") || server.Bool("tls-only")), nil
}

// localProbe asks the server that listens on address at this host. Where the
// address has no host, that of the loopback is taken when connecting.
func localProbe(address, path string, secure bool) probe {
	u := &url.URL{Scheme: "http", Host: "localhost", Path: path}
	if secure {
		u.Scheme = "https"
	}
	return probe{u, address, true}
}

func remoteProbe(text, path string) (probe, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return probe{}, fmt.Errorf("--url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return probe{}, fmt.Errorf("--url %q is no http or https URL", text)
	case u.Path == "" || u.Path == "/":
		u.Path = path
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	return probe{u, net.JoinHostPort(u.Hostname(), port), isLoopback(u.Hostname())}, nil
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// ask returns the code and the start of the body of the answer.
func (p probe) ask(ctx context.Context) (code int, body string, err error) {
	c, err := p.connect(ctx)
	if err == nil {
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		code, body, err = p.exchange(c)
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return 0, "", fmt.Errorf("%s: %w", p.url, errNoAnswer)
	case err != nil:
		return 0, "", fmt.Errorf("%s: %w", p.url, err)
	}
	return code, body, nil
}

func (p probe) connect(ctx context.Context) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil || p.url.Scheme == "http" {
		return c, err
	}
	t := tls.Client(c, &tls.Config{ServerName: p.url.Hostname(), InsecureSkipVerify: p.insecure})
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		var header tls.RecordHeaderError
		if errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/" {
			return nil, errPlainHTTP
		}
		return nil, err
	}
	return t, nil
}

func (p probe) exchange(c net.Conn) (code int, body string, err error) {
	req := &http.Request{Method: http.MethodGet, URL: p.url, Header: http.Header{}, Close: true}
	writeErr := req.Write(c) // who answered before may not read it
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return 0, "", errors.Join(writeErr, err)
	}
	defer res.Body.Close()
	const most = 1000 // bytes of a body that go into a message
	text, err := io.ReadAll(io.LimitReader(res.Body, most))
	return res.StatusCode, strings.TrimSpace(string(text)), err
}

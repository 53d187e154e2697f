package program

import (
	"errors"

	"github.com/urfave/cli/v2"

	"promostore/web"
)

// CertificateOptions returns the certificate that the flags tls-cert, tls-key,
// tls-self-signed and, in the updater, tls-client-ca select.
func CertificateOptions(c *cli.Context) (web.CertificateOptions, error) {
	opts := web.CertificateOptions{
		CertFile:   c.Path("tls-cert"),
		KeyFile:    c.Path("tls-key"),
		SelfSigned: c.Bool("tls-self-signed"),
		ClientCA:   c.Path("tls-client-ca"),
	}
	switch {
	case (opts.CertFile == "") != (opts.KeyFile == ""):
		return opts, errors.New("--tls-cert and --tls-key need each other")
	case opts.CertFile != "" && opts.SelfSigned:
		return opts, errors.New("--tls-self-signed and --tls-cert exclude each other")
	case opts.ClientCA != "" && !opts.Enabled():
		return opts, errors.New("--tls-client-ca needs --tls-cert and --tls-key, or --tls-self-signed")
	}
	return opts, nil
}

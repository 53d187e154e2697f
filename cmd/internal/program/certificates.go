package program

import (
	"github.com/urfave/cli/v2"

	"promostore/web"
)

// CertificateFlags returns the flags that select the certificate of a server.
// effect describes the result, such as "enable HTTPS".
func CertificateFlags(effect string) []cli.Flag {
	return []cli.Flag{
		&cli.PathFlag{Name: "tls-cert", Usage: effect + " with the PEM certificate chain in `FILE`"},
		&cli.PathFlag{Name: "tls-key", Usage: "use the PEM key in `FILE` for --tls-cert"},
		&cli.BoolFlag{Name: "tls-self-signed", Usage: effect + " with a certificate that is created at startup"},
	}
}

// CertificateOptions returns the certificate that the flags of CertificateFlags
// and, in the updater, --tls-client-ca select.
func CertificateOptions(c *cli.Context) (web.CertificateOptions, error) {
	opts := web.CertificateOptions{
		CertFile:   c.Path("tls-cert"),
		KeyFile:    c.Path("tls-key"),
		SelfSigned: c.Bool("tls-self-signed"),
		ClientCA:   c.Path("tls-client-ca"),
	}
	switch {
	case (opts.CertFile == "") != (opts.KeyFile == ""):
		return opts, Usagef("--tls-cert and --tls-key need each other")
	case opts.CertFile != "" && opts.SelfSigned:
		return opts, Usagef("--tls-self-signed and --tls-cert exclude each other")
	case opts.ClientCA != "" && !opts.Enabled():
		return opts, Usagef("--tls-client-ca needs --tls-cert and --tls-key, or --tls-self-signed")
	}
	return opts, nil
}

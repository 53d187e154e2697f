package program

import (
	"fmt"
	"net"
	"strings"

	"github.com/urfave/cli/v2"
)

// WithEnv lets environment variables set flags: PROMO_TLS_CERT sets --tls-cert.
func WithEnv(flags []cli.Flag) {
	for _, f := range flags {
		env := []string{"PROMO_" + strings.ToUpper(strings.ReplaceAll(f.Names()[0], "-", "_"))}
		switch f := f.(type) {
		case *cli.PathFlag:
			f.EnvVars = env
		case *cli.StringFlag:
			f.EnvVars = env
		case *cli.BoolFlag:
			f.EnvVars = env
		case *cli.DurationFlag:
			f.EnvVars = env
		case *cli.IntFlag:
			f.EnvVars = env
		case *cli.Int64Flag:
			f.EnvVars = env
		case *cli.Float64Flag:
			f.EnvVars = env
		default:
			panic(fmt.Sprintf("BUG: no environment variable for a flag of type %T", f))
		}
	}
}

// CheckAddress returns an error if address is not HOST:PORT.
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, err = net.LookupPort("tcp", port)
	return err
}

// IsLoopback reports whether host is localhost or a loopback IP address.
func IsLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

package program

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"

	"github.com/urfave/cli/v2"
)

// WithEnv lets the environment set f: --tls-cert is PROMO_TLS_CERT.
func WithEnv(f cli.Flag) {
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
		panic(fmt.Sprintf("BUG: a flag of type %T gets no environment variable", f))
	}
}

// CheckAddress refuses what no host could listen on.
func CheckAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, err = net.LookupPort("tcp", port)
	return err
}

// Logger is the log that the flags log-level and log-format ask for, on w.
func Logger(c *cli.Context, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn and error", c.String("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level}
	switch name := c.String("log-format"); name {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, fmt.Errorf("--log-format %q is neither text nor json", name)
	}
}

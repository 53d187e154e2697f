package program

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

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
	var syntax *net.AddrError
	switch {
	case strings.Contains(address, "//"):
		return errors.New("a URL; write HOST:PORT, such as localhost:1321")
	case errors.As(err, &syntax) && !strings.Contains(address, ":"):
		if _, err := strconv.ParseUint(address, 10, 16); err == nil {
			return fmt.Errorf("no colon before the port; write :%s", address)
		}
		return fmt.Errorf("no port; write HOST:PORT, such as %s:1321", address)
	case errors.As(err, &syntax) && net.ParseIP(address) != nil:
		return fmt.Errorf("no port; write [%s]:1321", address)
	case errors.As(err, &syntax):
		return errors.New("not HOST:PORT, such as 127.0.0.1:1321 or [::1]:1321")
	case err != nil:
		return err
	}
	if _, err := strconv.ParseInt(port, 10, 64); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("port %s is not from 0 to 65535", port)
		}
		return nil
	}
	if _, err = net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("no port is named %q", port)
	}
	return nil
}

// Listen listens on an address of CheckAddress. flag is the flag that has it.
func Listen(flag, address string, config net.ListenConfig) (net.Listener, error) {
	ln, err := config.Listen(context.Background(), "tcp", address)
	if err == nil {
		return ln, nil
	}
	advice := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		advice = "; stop the process that uses it, or choose another port"
	case errors.Is(err, syscall.EACCES):
		advice = "; ports below 1024 need root or CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "; no interface of this machine has it"
	}
	return nil, fmt.Errorf("--%s %s: %w%s", flag, address, networkError(err), advice)
}

// networkError returns the cause of an error of package net, which names its
// functions.
func networkError(err error) error {
	var number syscall.Errno
	var name *net.DNSError
	switch {
	case errors.As(err, &number):
		return number
	case errors.As(err, &name) && name.IsNotFound:
		return fmt.Errorf("no host is named %q", name.Name)
	}
	return err
}

// DialError describes why no server answers at an address.
func DialError(err error) error {
	cause := networkError(err)
	if errors.Is(cause, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w; no server listens there", cause)
	}
	return cause
}

// IsLoopback reports whether host is localhost or a loopback IP address.
func IsLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

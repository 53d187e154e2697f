package program

import (
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"
)

// LogFlags returns the flags that Logger reads.
func LogFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "log this level and the more severe ones: `debug|info|warn|error`"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "format of the log: `text|json`"},
	}
}

// Logger returns a logger that writes to w as the flags of LogFlags ask.
func Logger(c *cli.Context, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, Usagef("--log-level %q is not debug, info, warn or error", c.String("log-level"))
	}
	opts := &slog.HandlerOptions{Level: level}
	switch name := c.String("log-format"); name {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	default:
		return nil, Usagef("--log-format %q is not text or json", name)
	}
}

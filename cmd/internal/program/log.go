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

// Logger returns a logger that writes to w as the flags of LogFlags ask. Run has
// checked their values.
func Logger(c *cli.Context, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		panic("BUG: " + err.Error())
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.String("log-format") == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

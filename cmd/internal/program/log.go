package program

import (
	"io"
	"log/slog"

	"github.com/urfave/cli/v2"

	"promostore/internal/escape"
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
		return slog.New(slog.NewJSONHandler(jsonEscaper{w}, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// A jsonEscaper writes JSON without unprintable characters, which could come from
// clients, names of files and the output of commands. The text format of slog
// quotes them itself.
type jsonEscaper struct{ w io.Writer }

func (e jsonEscaper) Write(p []byte) (int, error) {
	if _, err := e.w.Write(escape.JSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

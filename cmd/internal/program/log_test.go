package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/urfave/cli/v2"
)

// A value from outside controls no terminal and forges no line of the log.
func TestLogIsPrintable(t *testing.T) {
	const hostile = "\x1b[2J\n\u009b2J\u202e\u2066\x7f\xff"
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		app := &cli.App{Flags: LogFlags(), Action: func(c *cli.Context) error {
			Logger(c, &out).With("name", hostile).Info(hostile, hostile, hostile, "error", errors.New(hostile))
			return nil
		}}
		if err := app.Run([]string{"program", "--log-format", format}); err != nil {
			t.Fatal(err)
		}
		line, rest, _ := strings.Cut(out.String(), "\n")
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%s: %U in %q", format, r, line)
			}
		}
		if rest != "" {
			t.Errorf("%s: more than one line: %q", format, rest)
		}
		if format == "json" {
			var got struct{ Name string }
			if err := json.Unmarshal([]byte(line), &got); err != nil || got.Name != strings.ToValidUTF8(hostile, "\ufffd") {
				t.Errorf("%q: %v, name %q", line, err, got.Name)
			}
		}
	}
}

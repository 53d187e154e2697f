package program

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Errors of the command line name the flag as it is written, the unit and an
// example, and nothing of Go.
func TestFlagErrorsNameUnitAndExample(t *testing.T) {
	app := func(stderr io.Writer) *cli.App {
		flags := []cli.Flag{
			&cli.DurationFlag{Name: "poll", Usage: "poll every `DURATION`"},
			&cli.IntFlag{Name: "keep", Usage: "keep `N`"},
			&cli.Int64Flag{Name: "max-bad-rows", Usage: "skip `N`"},
			&cli.Float64Flag{Name: "max-shrink", Usage: "allow `PERCENT`"},
			&cli.BoolFlag{Name: "json"},
			&cli.StringFlag{Name: "duplicates", Value: "last", Usage: "keep `last|first|error`"},
			&cli.StringFlag{Name: "data", Value: "here", Usage: "use `DIR`"},
		}
		WithEnv(flags)
		return &cli.App{
			Name: "promobuild", Writer: io.Discard, ErrWriter: stderr, Action: NoCommand,
			Commands: []*cli.Command{
				{Name: "build", Flags: append(flags, &cli.Uint64Flag{Name: "seed", Usage: "seed with `N`"}), Action: func(c *cli.Context) error {
					if c.String("data") != "here" && c.String("data") != "there" {
						return Usagef("data %q", c.String("data"))
					}
					return nil
				}},
				{Name: "list", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}, Action: func(*cli.Context) error { return nil }},
			},
		}
	}
	for _, c := range []struct{ env, args, want string }{
		{"", "build --poll often", `--poll "often" is not a duration such as 500ms, 30s or 1h30m`},
		{"", "build --poll 30", `--poll "30" has no unit; write 30s, 30m or 30h`},
		{"", "build --poll=", `--poll "" is not a duration such as 500ms, 30s or 1h30m`},
		{"", "build --keep two", `--keep "two" is not a whole number such as 10`},
		{"", "build --keep 1.5", `--keep "1.5" is not a whole number such as 10`},
		{"", "build --max-bad-rows 1,000", `--max-bad-rows "1,000" is not a whole number such as 10`},
		{"", "build --max-bad-rows 99999999999999999999", `--max-bad-rows 99999999999999999999 is too large`},
		{"", "build --seed -1", `--seed -1 is negative`},
		{"", "build --max-shrink 20%", `--max-shrink "20%": write the percentage without a sign, as in 20`},
		{"", "build --max-shrink half", `--max-shrink "half" is not a percentage such as 12.5`},
		{"", "build --json=maybe", `--json "maybe" is not true or false`},
		{"", "build --duplicates firts", `--duplicates "firts" is not last, first or error; did you mean "first"?`},
		{"", "build --duplicates LAST", `--duplicates "LAST" is not last, first or error; did you mean "last"?`},
		{"", "build --keep", `--keep needs a value: N`},
		{"", "build --data --json", `--data needs a value: DIR`},
		{"", "build --pol 3s", `unknown flag --pol; did you mean "--poll"?`},
		{"", "build --max-bad-row=3", `unknown flag --max-bad-row; did you mean "--max-bad-rows"?`},
		{"", "build --dir x", `unknown flag --dir; did you mean "--data"?`},
		{"", "build -j", `unknown flag -j; did you mean "--json"?`},
		{"", "list --dir x", `unknown flag --dir`},
		{"", "build --max-bad-rows 1M", `--max-bad-rows "1M" is not a whole number; write 1000000`},
		{"", "build --keep 5k", `--keep "5k" is not a whole number; write 5000`},
		{"", "build -x", `unknown flag -x`},
		{"", "build --frobnicate", `unknown flag --frobnicate`},
		{"", "build ---json", `"---json" is not a flag`},
		{"", "--data there build", `unknown flag --data; write it after the command, as in "promobuild COMMAND --data"`},
		{"", "list --keep 3", `unknown flag --keep here; it belongs to "promobuild build"`},
		{"PROMO_POLL=often", "build", `PROMO_POLL "often" is not a duration such as 500ms, 30s or 1h30m`},
		{"PROMO_POLL=30", "build", `PROMO_POLL "30" has no unit; write 30s, 30m or 30h`},
		{"PROMO_KEEP=two", "build", `PROMO_KEEP "two" is not a whole number such as 10`},
		{"PROMO_MAX_SHRINK=5%", "build", `PROMO_MAX_SHRINK "5%": write the percentage without a sign, as in 5`},
		{"PROMO_JSON=maybe", "build", `PROMO_JSON "maybe" is not true or false`},
		{"PROMO_DUPLICATES=all", "build", `PROMO_DUPLICATES "all" is not last, first or error`},
		{"PROMO_DATA=there", "build", ""},
		{"PROMO_DATA=", "build", ""}, // an empty variable means the default
		{"PROMO_POLL=", "build", ""},
		{"PROMO_JSON=", "build", ""},
		{"PROMO_DUPLICATES=", "build", ""},
		{"", "biuld", `unknown command "biuld"; did you mean "build"?`},
		{"", "ls", `unknown command "ls"; did you mean "promobuild list"?`},
		{"", "health", `unknown command "health"; did you mean "promoserve health"?`},
		{"", "serve", `unknown command "serve"; did you mean "promoserve"?`},
		{"", "version", `unknown command "version"; did you mean "promobuild --version"?`},
		{"", ".", `unknown command "."; did you mean "promobuild list ."?`},
		{"", "usage.go", `unknown command "usage.go"; did you mean "promobuild build usage.go"?`},
		{"", "help biuld", `unknown command "biuld"; did you mean "build"?`},
		{"", "frobnicate", `unknown command "frobnicate"`},
	} {
		t.Run(c.env+" "+c.args, func(t *testing.T) {
			if name, value, ok := strings.Cut(c.env, "="); ok {
				t.Setenv(name, value)
			}
			var stderr bytes.Buffer
			code := Run(context.Background(), app(&stderr), append([]string{"promobuild"}, strings.Fields(c.args)...))
			if c.want == "" {
				if code != ExitDone || stderr.Len() > 0 {
					t.Errorf("exits with %d and prints %s", code, &stderr)
				}
				return
			}
			line, _, _ := strings.Cut(stderr.String(), "\n")
			line = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(line, "promobuild: "), "build: "), "list: ")
			if code != ExitUsage || line != c.want {
				t.Errorf("exits with %d and prints\n%s\nwant\n%s", code, line, c.want)
			}
		})
	}
}

func TestCheckAddress(t *testing.T) {
	for _, address := range []string{":1321", "localhost:1321", "127.0.0.1:0", "[::1]:1321", ":http"} {
		if err := CheckAddress(address); err != nil {
			t.Errorf("CheckAddress(%q): %v", address, err)
		}
	}
	for address, want := range map[string]string{
		"8080":                  "no colon before the port; write :8080",
		"localhost":             "no port; write HOST:PORT, such as localhost:1321",
		"::1":                   "no port; write [::1]:1321",
		"::1:x:1321":            "not HOST:PORT, such as 127.0.0.1:1321 or [::1]:1321",
		"http://localhost:1321": "a URL; write HOST:PORT, such as localhost:1321",
		"127.0.0.1:99999":       "port 99999 is not from 0 to 65535",
		"127.0.0.1:-1":          "port -1 is not from 0 to 65535",
		":nosuch":               `no port is named "nosuch"`,
	} {
		if err := CheckAddress(address); err == nil || err.Error() != want {
			t.Errorf("CheckAddress(%q): %v, want %s", address, err, want)
		}
	}
}

func TestListenErrorsTellWhatToDo(t *testing.T) {
	ln, err := Listen("listen", "127.0.0.1:0", net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := ln.Addr().String()
	_, err = Listen("listen", address, net.ListenConfig{})
	if want := "--listen " + address + ": address already in use; stop the process that uses it, or choose another port"; err == nil || err.Error() != want {
		t.Errorf("Listen: %v, want %s", err, want)
	}
}

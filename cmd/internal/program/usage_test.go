package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestClosestNeedsATypo(t *testing.T) {
	candidates := []string{"build", "verify", "inspect", "get", "list", "pin", "unpin", "max-bad-rows"}
	for word, want := range map[string]string{
		"biuld":       "build",
		"buid":        "build",
		"builds":      "build",
		"verfiy":      "verify",
		"insp":        "inspect",
		"max":         "max-bad-rows",
		"max-badrows": "max-bad-rows",
		"unpn":        "unpin",
		"gt":          "",
		"frobnicate":  "",
		"x":           "",
		"":            "",
	} {
		if got := closest(word, candidates); got != want {
			t.Errorf("closest(%q) = %q, want %q", word, got, want)
		}
	}
}

// runTestApp runs an app whose build command returns err.
func runTestApp(err error, printing bool, args string) (code int, stderr string) {
	var b bytes.Buffer
	app := testApp()
	app.ErrWriter = &b
	action := cli.ActionFunc(func(*cli.Context) error { return err })
	if printing {
		action = Printing(action)
	}
	app.Commands[0].Action = action
	code = Run(context.Background(), app, strings.Fields(args))
	return code, b.String()
}

func TestRunReportsErrors(t *testing.T) {
	failed := errors.New("no space")
	broken := fmt.Errorf("write: %w", syscall.EPIPE)
	for _, c := range []struct {
		name     string
		err      error
		printing bool
		args     string
		code     int
		stderr   string
	}{
		{"success", nil, false, "p build x", ExitDone, ""},
		{"failure", failed, false, "p build x", ExitFailed, "p: build: no space\n"},
		{"usage error of a command", Usagef("wrong"), false, "p build x", ExitUsage, "p: build: wrong\nRun 'p build --help' for usage.\n"},
		{"unknown flag", nil, false, "p build --qiet", ExitUsage, "p: build: unknown flag --qiet; did you mean \"--quiet\"?\nRun 'p build --help' for usage.\n"},
		{"unknown flag of the program", nil, false, "p --onli", ExitUsage, "p: unknown flag --onli; did you mean \"--only\"?\nRun 'p --help' for usage.\n"},
		{"flag without a value", nil, false, "p build --data", ExitUsage, "p: build: --data needs a value\nRun 'p build --help' for usage.\n"},
		{"unknown command", nil, false, "p biuld", ExitUsage, "p: unknown command \"biuld\"; did you mean \"build\"?\nRun 'p --help' for usage.\n"},
		{"no command", nil, false, "p", ExitUsage, "p: missing command\n\nCommands:\n   build       build a generation\n   inspect     \n   get         \n   health      \n\nRun 'p --help' for usage.\n"},
		{"closed output", broken, true, "p build x", ExitFailed, ""},
		{"closed output of a command that changes files", broken, false, "p build x", ExitFailed, "p: build: write: broken pipe\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stderr := runTestApp(c.err, c.printing, c.args)
			if code != c.code || stderr != c.stderr {
				t.Errorf("exit code %d, %q, want %d, %q", code, stderr, c.code, c.stderr)
			}
		})
	}
}

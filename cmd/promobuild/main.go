// Command promobuild makes generation files of promotions tables, and looks
// into them. "promobuild help" lists what it can do.
//
// It exits with 0 when the work is done, 1 when it failed and 2 when it was
// called wrongly.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// changing are the commands that do more than print: that nobody reads what
// they did, or which rows they have left out, must be told.
var changing = []string{"promobuild build", "promobuild pin", "promobuild unpin", "promobuild rollback", "promobuild prune"}

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program but the process. args[0] is its name.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := newApp(stdin, stdout, stderr)
	args, err := permute(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	var usage *usageError
	var coder cli.ExitCoder // what "help" returns for a command that is not there
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage), errors.As(err, &coder):
		fmt.Fprintf(stderr, "promobuild: %v\nThis is how it is called: %s --help\n", err, called(app, args))
		return exitUsage
	case errors.Is(err, syscall.EPIPE) && !slices.Contains(changing, called(app, args)):
		// Whoever reads the output has seen enough.
		return exitFailed
	default:
		fmt.Fprintf(stderr, "promobuild: %v\n", err)
		return exitFailed
	}
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "promobuild",
		Usage:     "make generation files of promotions tables, and look into them",
		UsageText: "promobuild COMMAND [flags] [arguments]",
		Version:   fmt.Sprintf("%s, %s, file format %d", program.Version(), runtime.Version(), format.Version),
		Description: "A generation is one immutable, sorted and checksummed file. promoserve serves the\n" +
			"newest one of a directory. Flags may stand before or behind the arguments.\n" +
			"Exit codes: 0 done, 1 the work failed, 2 wrong usage.",
		Reader:               stdin,
		Writer:               stdout,
		ErrWriter:            stderr,
		EnableBashCompletion: true,
		Commands: []*cli.Command{
			buildCommand(), verifyCommand(), inspectCommand(), getCommand(), dumpCommand(), listCommand(),
			pinCommand(), unpinCommand(), rollbackCommand(), pruneCommand(), diffCommand(),
			generateCommand(), updaterCommand(),
			program.CompletionCommand("promobuild", func(reason string) error { return usagef("%s", reason) }),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q", c.Args().First())
			}
			return usagef("no command given")
		},
		OnUsageError:   onUsageError,
		ExitErrHandler: func(*cli.Context, error) {}, // run is what decides
	}
	for _, command := range app.Commands {
		command.OnUsageError = onUsageError
		command.HideHelpCommand = true // else a file named help would be one
	}
	return app
}

// A usageError says that the program was called wrongly.
type usageError struct{ reason string }

func (e *usageError) Error() string { return e.reason }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return usagef("%v", err) }

// wantArgs returns the positional arguments, which must be as many.
func wantArgs(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, usagef("%s: an argument is missing: %s", c.Command.Name, c.Command.ArgsUsage)
	case len(args) > most:
		return nil, usagef("%s: one argument too many: %q", c.Command.Name, args[most])
	}
	return args, nil
}

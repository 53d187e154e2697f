package program

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// A UsageError reports a wrong command line. Run exits with ExitUsage and
// points to the help of the command.
type UsageError struct{ reason string }

func (e *UsageError) Error() string { return e.reason }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{fmt.Sprintf(format, args...)}
}

// Args returns the arguments of a command. Fewer than least or more than most
// are a usage error.
func Args(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, Usagef("missing argument: %s", c.Command.ArgsUsage)
	case len(args) > most:
		return nil, Usagef("unexpected argument %q", args[most])
	}
	return args, nil
}

// NoCommand returns the usage error for a command line whose first argument is
// not a command, or that has no argument.
func NoCommand(c *cli.Context) error {
	if !c.Args().Present() {
		return Usagef("missing command")
	}
	return unknownCommand(c.App, c.Args().First())
}

func unknownCommand(app *cli.App, name string) error {
	var names []string
	for _, command := range app.Commands {
		names = append(names, command.Name)
	}
	return Usagef("unknown command %q%s", name, hint(closest(name, names)))
}

// onUsageError turns an error of the flag parser into a usage error.
func onUsageError(c *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return Usagef("%v", err)
	}
	flags := c.App.Flags
	if c.Command != nil && len(c.Command.Flags) > 0 {
		flags = c.Command.Flags
	}
	var names []string
	for _, f := range flags {
		names = append(names, f.Names()[0])
	}
	suggestion := closest(name, names)
	if suggestion != "" {
		suggestion = "--" + suggestion
	}
	return Usagef("unknown flag --%s%s", name, hint(suggestion))
}

func hint(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", suggestion)
}

// closest returns the candidate that word abbreviates, or else the one that
// takes the fewest edits. More than two edits, or edits of half the word, are
// no typo.
func closest(word string, candidates []string) string {
	best, edits := "", min(2, (len(word)-1)/2)+1
	for _, candidate := range candidates {
		if len(word) >= 3 && strings.HasPrefix(candidate, word) {
			return candidate
		}
		if n := smetrics.WagnerFischer(word, candidate, 1, 1, 1); n < edits {
			best, edits = candidate, n
		}
	}
	return best
}

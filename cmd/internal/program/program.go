// Package program holds the parts that promobuild and promoserve share: running
// a command line, usage errors, exit codes, signals, certificates, logging,
// environment variables and shell completion.
package program

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/internal/escape"
)

// Exit codes of both programs. Only tasks, which an engine repeats, exit with
// ExitPermanent.
const (
	ExitDone      = 0
	ExitFailed    = 1
	ExitUsage     = 2
	ExitPermanent = 3 // another attempt would fail in the same way
)

// permanentError makes a program exit with ExitPermanent.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent returns err as an error that makes the program exit with ExitPermanent.
func Permanent(err error) error { return permanentError{err} }

// stamp is the output of "git describe". The linker sets it.
var stamp string

// Version returns the version that was built: the one that the Makefile passes
// to the linker, or else the one that the go command recorded.
func Version() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// Run runs app, whose name is args[0], and returns the exit code. It reports an
// error on app.ErrWriter, prefixed with the program and the command.
func Run(ctx context.Context, app *cli.App, args []string) int {
	prepare(app, args)
	out := &countingWriter{w: app.Writer}
	app.Writer = out
	if len(args) > 1 && args[1] == completeArg {
		complete(app, args[2:], out)
		return ExitDone
	}
	ordered, err := permute(app, args)
	if err == nil {
		err = app.RunContext(ctx, ordered)
	}
	code := report(app, args, err)
	if code != ExitDone && out.n == 0 && wantsJSON(app, args) {
		printFailure(out, err, code)
	}
	return code
}

// prepare applies the settings that all commands share.
func prepare(app *cli.App, args []string) {
	app.Setup() // adds the command help
	if help := app.Command("help"); help != nil {
		help.Usage = "show the help of the program or of a command"
	}
	onUsageError := usageErrors(args)
	app.OnUsageError = onUsageError
	app.ExitErrHandler = func(*cli.Context, error) {} // Run returns the exit code
	app.Action = checked(app.Action, app.Flags)
	ignoreEmpty(app.Flags)
	for _, command := range app.Commands {
		command.Action = checked(command.Action, command.Flags)
		ignoreEmpty(command.Flags)
		command.OnUsageError = onUsageError
		command.HideHelpCommand = true // or "help" would not be a valid file name
		command.UsageText = strings.TrimSpace(app.Name + " " + command.Name + flagsUsage(command) + " " + command.ArgsUsage)
	}
}

// checked adds a check of the values of flags to an action.
func checked(action cli.ActionFunc, flags []cli.Flag) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := checkChoices(c, flags); err != nil {
			return err
		}
		return action(c)
	}
}

// ignoreEmpty unsets empty environment variables of flags, which package cli would
// take for values.
func ignoreEmpty(flags []cli.Flag) {
	for _, flag := range flags {
		f, ok := flag.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		for _, name := range f.GetEnvVars() {
			if value, found := os.LookupEnv(name); found && value == "" {
				_ = os.Unsetenv(name) // fails only for a name that is not valid
			}
		}
	}
}

func flagsUsage(command *cli.Command) string {
	if len(command.Flags) == 0 {
		return ""
	}
	return " [flags]"
}

// report prints err and returns the exit code that belongs to it.
func report(app *cli.App, args []string, err error) int {
	if err == nil {
		return ExitDone
	}
	if errors.Is(err, errOutputClosed) {
		return ExitFailed
	}
	called := calledAs(app, args)
	var coder cli.ExitCoder // the help command returns one for an unknown topic
	if errors.As(err, &coder) {
		err = unknownCommand(app, args[len(args)-1])
	}
	fmt.Fprintf(app.ErrWriter, "%s: %v\n", strings.ReplaceAll(called, " ", ": "), escape.Text(escapeNames(err.Error(), app, args)))
	var usage *UsageError
	if errors.As(err, &usage) {
		if usage.more != "" {
			fmt.Fprintln(app.ErrWriter, usage.more)
		}
		fmt.Fprintf(app.ErrWriter, "Run '%s --help' for usage.\n", called)
		return ExitUsage
	}
	if errors.As(err, new(permanentError)) {
		return ExitPermanent
	}
	return ExitFailed
}

// escapeNames escapes the words of the command line in text, such as names of files.
// escape.Text keeps the line ends and tabs of a text, which in a name could forge a
// line.
func escapeNames(text string, app *cli.App, args []string) string {
	words := slices.Clone(args)
	flags := app.Flags
	if _, command := find(app, args); command != nil {
		flags = command.Flags
	}
	for _, flag := range flags {
		if f, ok := flag.(cli.DocGenerationFlag); ok {
			for _, variable := range f.GetEnvVars() {
				words = append(words, os.Getenv(variable))
			}
		}
	}
	for _, word := range words {
		if _, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(word, "-") {
			word = value
		}
		if strings.ContainsAny(word, "\n\t") {
			text = strings.ReplaceAll(text, word, escape.Name(word))
			text = strings.ReplaceAll(text, filepath.Clean(word), escape.Name(filepath.Clean(word)))
		}
	}
	return text
}

// A countingWriter counts the bytes that it passes on.
type countingWriter struct {
	w io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}

// wantsJSON reports whether args set the flag --json of their command.
func wantsJSON(app *cli.App, args []string) bool {
	at, command := find(app, args)
	if command == nil || flagNamed(command.Flags, "json") == nil {
		return false
	}
	for _, arg := range args[at+1:] {
		switch arg {
		case "--json", "-json", "--json=true", "-json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}

// printFailure prints the JSON object that takes the place of the result of a
// command with --json, so that a program which reads standard output gets JSON in
// any case.
func printFailure(w io.Writer, err error, code int) {
	_ = PrintJSON(w, struct {
		Error    string `json:"error"`
		ExitCode int    `json:"exit_code"`
	}{err.Error(), code}) // standard error has the error too
}

// PrintJSON writes v as JSON and a line end. Names of files and reasons of pins are of
// any content, so the text has no unprintable characters.
func PrintJSON(w io.Writer, v any) error { return json.NewEncoder(jsonEscaper{w}).Encode(v) }

var errOutputClosed = errors.New("standard output is closed")

// Printing wraps the action of a command that only prints. The command ends
// without a message when the reader of standard output has gone, like the left
// side of a shell pipeline.
func Printing(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := action(c)
		if errors.Is(err, syscall.EPIPE) {
			return errOutputClosed
		}
		return err
	}
}

// Promobuild builds generation files from CSV files of promotions, and
// inspects and manages them. "promobuild help" lists its commands.
//
// It exits with 0 on success, with 1 on failure and with 2 if the command line
// is wrong. Tasks exit with 3 if another attempt would fail in the same way.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
)

const description = `A generation is one immutable, sorted and checksummed file, or one for each of its
shards. promoserve serves the newest generation of a directory. Flags may come
before or after the arguments.

Examples:
   promobuild build --data /srv/promotions promotions.csv
   promobuild list /srv/promotions
   promobuild rollback --data /srv/promotions --reason 'wrong prices'

Exit codes:
   0   the command succeeded
   1   the command failed
   2   the command line is wrong
   3   plan, split, merge, publish or sweep failed; another attempt would fail too`

func main() {
	os.Exit(run(context.Background(), os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// run runs the program, whose name is args[0], and returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return program.Run(ctx, newApp(stdin, stdout, stderr), args)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:        "promobuild",
		Usage:       "build and manage generation files",
		UsageText:   "promobuild COMMAND [flags] [arguments]",
		Version:     fmt.Sprintf("%s, %s, file format %d", program.Version(), runtime.Version(), format.Version),
		Description: description,
		Reader:      stdin,
		Writer:      stdout,
		ErrWriter:   stderr,
		Commands: []*cli.Command{
			buildCommand(), verifyCommand(), inspectCommand(), getCommand(), dumpCommand(), listCommand(),
			pinCommand(), unpinCommand(), rollbackCommand(), pruneCommand(), pushCommand(), pullCommand(), diffCommand(), historyCommand(),
			planCommand(), splitCommand(), mergeCommand(), publishCommand(), sweepCommand(),
			generateCommand(), updaterCommand(), program.CompletionCommand("promobuild"),
		},
		Action: program.NoCommand,
	}
	for _, command := range app.Commands {
		command.Action = explainAccess(command.Action)
	}
	return app
}

package program

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// A UsageError reports a wrong command line. Run exits with ExitUsage and
// points to the help of the command.
type UsageError struct {
	reason string
	more   string // lines that Run prints after the reason
}

func (e *UsageError) Error() string { return e.reason }

// Usagef returns a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{reason: fmt.Sprintf(format, args...)}
}

// Args returns the arguments of a command. Fewer than least or more than most
// are a usage error.
func Args(c *cli.Context, least, most int) ([]string, error) {
	args := c.Args().Slice()
	switch {
	case len(args) < least:
		return nil, Usagef("missing argument: %s", c.Command.ArgsUsage)
	case len(args) > most:
		return nil, Usagef("unexpected argument %q%s", args[most], dataHint(c.Command.Flags, args[most]))
	}
	return args, nil
}

// dataHint suggests --data for an argument that is a directory.
func dataHint(flags []cli.Flag, arg string) string {
	if info, err := os.Stat(arg); err != nil || !info.IsDir() || flagNamed(flags, "data") == nil {
		return ""
	}
	return hint("--data " + arg)
}

// NoCommand returns the usage error for a command line whose first argument is
// not a command, or that has no argument.
func NoCommand(c *cli.Context) error {
	if !c.Args().Present() {
		return &UsageError{"missing command", commandList(c.App)}
	}
	return unknownCommand(c.App, c.Args().First())
}

// commandList returns the commands with their summaries.
func commandList(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nCommands:\n")
	for _, command := range app.VisibleCommands() {
		if command.Name != "help" {
			fmt.Fprintf(&b, "   %-12s%s\n", command.Name, command.Usage)
		}
	}
	return b.String()
}

// sisters lists the commands of each program, for users who call the other one.
// promoserve without a command is the server.
var sisters = map[string][]string{
	"promobuild": {"build", "verify", "inspect", "get", "dump", "list", "pin", "unpin", "rollback", "prune", "push", "pull", "diff", "history", "generate", "updater", "plan", "split", "merge", "publish", "sweep"},
	"promoserve": {"health"},
}

// synonyms maps the words of other tools to command lines.
var synonyms = map[string]string{
	"cat": "promobuild dump", "export": "promobuild dump", "print": "promobuild dump",
	"check": "promobuild verify", "validate": "promobuild verify",
	"compare": "promobuild diff",
	"changes": "promobuild history", "log": "promobuild history",
	"create": "promobuild build", "import": "promobuild build", "load": "promobuild build", "publish": "promobuild build",
	"clean": "promobuild prune", "delete": "promobuild prune", "gc": "promobuild prune", "remove": "promobuild prune", "rm": "promobuild prune",
	"info": "promobuild inspect", "show": "promobuild inspect", "stat": "promobuild inspect",
	"find": "promobuild get", "lookup": "promobuild get", "query": "promobuild get",
	"listen": "promoserve", "run": "promoserve", "serve": "promoserve", "server": "promoserve", "start": "promoserve",
	"ls": "promobuild list", "status": "promobuild list",
	"ping": "promoserve health", "ready": "promoserve health",
	"revert": "promobuild rollback", "undo": "promobuild rollback",
	"update": "promobuild updater", "upload": "promobuild updater", "watch": "promobuild updater",
}

// unknownCommand returns the usage error for a first argument that is not a
// command.
func unknownCommand(app *cli.App, name string) error {
	var names []string
	for _, command := range app.Commands {
		names = append(names, command.Name)
	}
	suggestion := closest(name, names)
	switch {
	case suggestion != "":
	case name == "version":
		suggestion = app.Name + " --version"
	case synonyms[name] != "":
		suggestion = synonyms[name]
	default:
		suggestion = sisterCommand(app, name)
	}
	if suggestion == "" {
		return Usagef("unknown command %q%s", name, fileHint(app, name))
	}
	return Usagef("unknown command %q%s", name, hint(suggestion))
}

// sisterCommand returns the command of the other program that name means, or an
// empty string.
func sisterCommand(app *cli.App, name string) string {
	for _, program := range []string{"promobuild", "promoserve"} {
		if app.Name == program {
			continue
		}
		if command := closest(name, sisters[program]); command != "" {
			return program + " " + command
		}
	}
	return ""
}

// fileHint suggests a command line for a file or directory instead of a
// command.
func fileHint(app *cli.App, path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return ""
	case info.IsDir() && flagNamed(app.Flags, "data") != nil:
		return hint("--data " + path)
	case info.IsDir() && app.Command("list") != nil:
		return hint(app.Name + " list " + path)
	case app.Command("build") != nil:
		return hint(app.Name + " build " + path)
	}
	return ""
}

func hint(suggestion string) string { return fmt.Sprintf("; did you mean %q?", suggestion) }

// flagNamed returns the flag with that name, or nil.
func flagNamed(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute puts the flags of a command before its arguments. People write
// "inspect FILE --json"; package cli takes everything behind the first
// argument as arguments.
func permute(app *cli.App, args []string) ([]string, error) {
	at := slices.IndexFunc(args[min(1, len(args)):], isArgument) + 1
	if at == 0 || args[len(args)-1] == "--generate-bash-completion" { // which must stay last
		return args, nil
	}
	command := app.Command(args[at])
	if command == nil {
		return args, nil
	}
	var flags, arguments []string
	for rest := args[at+1:]; len(rest) > 0; rest = rest[1:] {
		arg := rest[0]
		if arg == "--" {
			arguments = append(arguments, rest[1:]...)
			break
		}
		if isArgument(arg) {
			arguments = append(arguments, arg)
			continue
		}
		if arg == "--help" || arg == "-help" || arg == "-h" {
			return slices.Concat(args[:at+1], []string{arg}), nil
		}
		flags = append(flags, arg)
		if takesNext(command, arg) {
			if len(rest) == 1 {
				return args, usagef("%s: %s needs a value", command.Name, arg)
			}
			rest = rest[1:]
			flags = append(flags, rest[0])
		}
	}
	return slices.Concat(args[:at+1], flags, []string{"--"}, arguments), nil
}

// isArgument tells arguments from flags. A single dash is standard input.
func isArgument(arg string) bool { return arg == "-" || !strings.HasPrefix(arg, "-") }

// takesNext reports whether the value of the flag is the next argument.
func takesNext(command *cli.Command, arg string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, flag := range command.Flags {
		if slices.Contains(flag.Names(), name) {
			f, ok := flag.(cli.DocGenerationFlag)
			return ok && f.TakesValue()
		}
	}
	return false
}

// called is the program and the command that args call, if there is one.
func called(app *cli.App, args []string) string {
	at := slices.IndexFunc(args[min(1, len(args)):], isArgument) + 1
	if at == 0 || args[at] == "help" || app.Command(args[at]) == nil {
		return app.Name
	}
	return app.Name + " " + args[at]
}

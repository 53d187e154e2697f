package program

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// permute moves the flags of a command before its arguments, so that "inspect
// FILE --json" works: package cli stops parsing flags at the first argument.
func permute(app *cli.App, args []string) ([]string, error) {
	if err := checkValues(app.Flags, args[1:]); err != nil {
		return args, err
	}
	at, command := find(app, args)
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
		if takesNext(command.Flags, arg) {
			if len(rest) == 1 || isFlag(command.Flags, rest[1]) {
				return args, needsValue(command.Flags, arg)
			}
			rest = rest[1:]
			flags = append(flags, rest[0])
		}
	}
	return slices.Concat(args[:at+1], flags, []string{"--"}, arguments), nil
}

// checkValues returns a usage error if a flag of the program, before the first
// argument, has a flag instead of its value.
func checkValues(flags []cli.Flag, args []string) error {
	for i := 0; i < len(args) && !isArgument(args[i]) && args[i] != "--"; i++ {
		if !takesNext(flags, args[i]) {
			continue
		}
		if i++; i < len(args) && isFlag(flags, args[i]) {
			return needsValue(flags, args[i-1])
		}
	}
	return nil
}

// find returns the command that args call and its index, or nil. The command is
// the first argument after the flags of the program itself.
func find(app *cli.App, args []string) (int, *cli.Command) {
	for at := 1; at < len(args); at++ {
		switch {
		case isArgument(args[at]):
			return at, app.Command(args[at])
		case args[at] == "--":
			return 0, nil
		case takesNext(app.Flags, args[at]):
			at++
		}
	}
	return 0, nil
}

// isArgument reports whether arg is not a flag. A single dash is standard input.
func isArgument(arg string) bool { return arg == "-" || !strings.HasPrefix(arg, "-") }

// isFlag reports whether arg is one of flags. Other values may begin with a dash.
func isFlag(flags []cli.Flag, arg string) bool {
	name, dashed := strings.CutPrefix(arg, "--")
	name, _, _ = strings.Cut(name, "=")
	return dashed && flagNamed(flags, name) != nil
}

// takesNext reports whether the argument after the flag arg is its value.
func takesNext(flags []cli.Flag, arg string) bool {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	if strings.Contains(name, "=") {
		return false
	}
	f, ok := flagNamed(flags, name).(cli.DocGenerationFlag)
	return ok && f.TakesValue()
}

// calledAs returns the program and the command that args call, such as
// "promobuild build".
func calledAs(app *cli.App, args []string) string {
	_, command := find(app, args)
	if command == nil || command.Name == "help" {
		return app.Name
	}
	return app.Name + " " + command.Name
}

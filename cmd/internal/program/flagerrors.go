package program

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// The errors of package flag and package cli. They show flags with one dash and
// name functions of Go.
var (
	unknownFlagError = regexp.MustCompile(`(?s)^flag provided but not defined: -(.*)$`)
	noValueError     = regexp.MustCompile(`(?s)^flag needs an argument: -(.*)$`)
	syntaxError      = regexp.MustCompile(`(?s)^bad flag syntax: (.*)$`)
	valueError       = regexp.MustCompile(`(?s)^invalid (?:boolean )?value (".*") for (?:flag )?-([^ :]+): `)
	environmentError = regexp.MustCompile(`(?s)^could not parse (".*") as .* value from environment variable "(\w+)" for flag ([^ :]+): `)
)

// usageErrors returns a function that turns an error of the flag parser into a
// usage error. args is the command line.
func usageErrors(args []string) cli.OnUsageErrorFunc {
	return func(c *cli.Context, err error, ofCommand bool) error { return usageError(c, args, err, ofCommand) }
}

func usageError(c *cli.Context, args []string, err error, ofCommand bool) error {
	flags := c.App.Flags
	if c.Command != nil && len(c.Command.Flags) > 0 {
		flags = c.Command.Flags
	}
	text := err.Error()
	if m := unknownFlagError.FindStringSubmatch(text); m != nil {
		return unknownFlag(c.App, flags, asTyped(args, m[1]), ofCommand)
	}
	if m := noValueError.FindStringSubmatch(text); m != nil {
		return needsValue(flags, m[1])
	}
	if m := syntaxError.FindStringSubmatch(text); m != nil {
		return Usagef("%q is not a flag", m[1])
	}
	if m := valueError.FindStringSubmatch(text); m != nil {
		return wrongValue(flags, "--"+m[2], m[2], m[1])
	}
	if m := environmentError.FindStringSubmatch(text); m != nil {
		return wrongValue(flags, m[2], m[3], m[1])
	}
	return Usagef("%v", err)
}

// unknownFlag suggests a flag, or another place for it.
func unknownFlag(app *cli.App, flags []cli.Flag, dashed string, ofCommand bool) error {
	name := strings.TrimLeft(dashed, "-")
	var names []string
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				names = append(names, name)
			}
		}
	}
	if suggestion := closest(name, names); suggestion != "" {
		return Usagef("unknown flag %s%s", dashed, hint("--"+suggestion))
	}
	for _, command := range app.Commands {
		if flagNamed(command.Flags, name) == nil {
			continue
		}
		if !ofCommand {
			return Usagef("unknown flag %s; write it after the command, as in %q", dashed, app.Name+" "+command.Name+" "+dashed)
		}
		return Usagef("unknown flag %s; %q has it", dashed, app.Name+" "+command.Name)
	}
	return Usagef("unknown flag %s", dashed)
}

// asTyped returns the flag of that name with the dashes that it has in args.
func asTyped(args []string, name string) string {
	for _, arg := range args {
		dashed, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(dashed, "-") && strings.TrimLeft(dashed, "-") == name {
			return dashed
		}
	}
	return "--" + name
}

// needsValue returns the error for a flag that ends the command line, or that
// another flag follows.
func needsValue(flags []cli.Flag, dashed string) error {
	name := strings.TrimLeft(dashed, "-")
	if value := metavariable(flagNamed(flags, name)); value != "" {
		return Usagef("--%s needs a value: %s", name, value)
	}
	return Usagef("--%s needs a value", name)
}

// wrongValue returns the error for a value that the type of a flag does not
// have. setting is the flag or the environment variable that has the value.
func wrongValue(flags []cli.Flag, setting, name, quoted string) error {
	value, err := strconv.Unquote(quoted)
	if err != nil {
		value = quoted
	}
	flag := flagNamed(flags, name)
	number := regexp.MustCompile(`^[-+]?[0-9]+(\.[0-9]*)?$`).MatchString(value)
	switch flag.(type) {
	case *cli.DurationFlag:
		if number {
			return Usagef("%s %q has no unit; write %ss, %sm or %sh", setting, value, value, value, value)
		}
		return Usagef("%s %q is not a duration such as 500ms, 30s or 1h30m", setting, value)
	case *cli.IntFlag, *cli.Int64Flag, *cli.Uint64Flag:
		_, unsigned := flag.(*cli.Uint64Flag)
		switch {
		case number && unsigned && strings.HasPrefix(value, "-"):
			return Usagef("%s %s is negative", setting, value)
		case number && !strings.Contains(value, "."):
			return Usagef("%s %s is too large", setting, value)
		}
		return Usagef("%s %q is not a whole number such as 1000", setting, value)
	case *cli.Float64Flag:
		if metavariable(flag) != "PERCENT" {
			return Usagef("%s %q is not a number such as 1.5", setting, value)
		}
		if percent := strings.TrimSpace(strings.TrimSuffix(value, "%")); percent != value {
			return Usagef("%s %q: write the percentage without a sign, as in %s", setting, value, percent)
		}
		return Usagef("%s %q is not a percentage such as 12.5", setting, value)
	case *cli.BoolFlag:
		return Usagef("%s %q is not true or false", setting, value)
	}
	return Usagef("%s %q is not valid", setting, value)
}

// metavariable returns the word in the usage of a flag that stands for its value,
// or an empty string.
func metavariable(flag cli.Flag) string {
	f, ok := flag.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	_, text, _ := strings.Cut(f.GetUsage(), "`")
	word, _, _ := strings.Cut(text, "`")
	return word
}

// choices returns the values that a flag accepts, or nil if it accepts others too.
// Its metavariable lists them: last|first|error.
func choices(flag cli.Flag) []string {
	if word := metavariable(flag); strings.Contains(word, "|") {
		return strings.Split(word, "|")
	}
	return nil
}

// checkChoices returns a usage error for a flag with a value that is not one of
// its choices.
func checkChoices(c *cli.Context, flags []cli.Flag) error {
	for _, flag := range flags {
		values := choices(flag)
		if values == nil {
			continue
		}
		if err := checkChoice(c.String(flag.Names()[0]), values); err != nil {
			return Usagef("%s %v", setting(c, flag), err)
		}
	}
	return nil
}

// setting returns the flag, or the environment variable that has the same value.
func setting(c *cli.Context, flag cli.Flag) string {
	name := flag.Names()[0]
	if f, ok := flag.(cli.DocGenerationFlag); ok {
		for _, variable := range f.GetEnvVars() {
			if value := os.Getenv(variable); value != "" && value == c.String(name) {
				return variable
			}
		}
	}
	return "--" + name
}

// checkChoice returns an error if value is not one of values.
func checkChoice(value string, values []string) error {
	for _, v := range values {
		if v == value {
			return nil
		}
	}
	last := len(values) - 1
	list := strings.Join(values[:last], ", ") + " or " + values[last]
	if suggestion := closest(strings.ToLower(value), values); suggestion != "" {
		return fmt.Errorf("%q is not %s%s", value, list, hint(suggestion))
	}
	return fmt.Errorf("%q is not %s", value, list)
}

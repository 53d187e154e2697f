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

// shortNumber matches 5k and 1M.
var shortNumber = regexp.MustCompile(`^([0-9]{1,9})([kKmMgG])$`)

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
	suggestion := ""
	for i := 0; i < len(flagSynonyms[name]) && suggestion == ""; i++ {
		if flagNamed(flags, flagSynonyms[name][i]) != nil {
			suggestion = flagSynonyms[name][i]
		}
	}
	if suggestion == "" {
		suggestion = closest(name, names)
	}
	if suggestion != "" {
		return Usagef("unknown flag %s%s", dashed, hint("--"+suggestion))
	}
	var owners []string // commands with that flag
	for _, command := range app.Commands {
		if flagNamed(command.Flags, name) != nil {
			owners = append(owners, fmt.Sprintf("%q", app.Name+" "+command.Name))
		}
	}
	switch {
	case len(owners) > 0 && !ofCommand:
		return Usagef("unknown flag %s; write it after the command, as in \"%s COMMAND %s\"", dashed, app.Name, dashed)
	case len(owners) > 0 && len(owners) <= 3:
		last := len(owners) - 1
		list := strings.Join(append([]string{strings.Join(owners[:last], ", ")}, owners[last]), " and ")
		return Usagef("unknown flag %s here; it belongs to %s", dashed, strings.TrimPrefix(list, " and "))
	}
	return Usagef("unknown flag %s", dashed)
}

// flagSynonyms maps the flags of other tools to flags of these programs. A command
// has some of them.
var flagSynonyms = map[string][]string{
	"addr": {"listen"}, "address": {"listen"}, "bind": {"listen"}, "host": {"listen", "url"}, "p": {"listen"}, "port": {"listen"},
	"cert": {"tls-cert"}, "key": {"tls-key"}, "ssl": {"tls-self-signed"}, "tls": {"tls-self-signed"}, "https": {"tls-self-signed"},
	"d": {"data"}, "dir": {"data"}, "directory": {"data"}, "o": {"data"}, "out": {"data"}, "output": {"data"}, "path": {"data"},
	"debug": {"log-level"}, "v": {"log-level"}, "verbose": {"log-level"},
	"f": {"force"}, "yes": {"force"},
	"format": {"json", "log-format"}, "j": {"json"}, "output-format": {"json"},
	"interval": {"poll"}, "id": {"generation"},
	"jobs": {"workers"}, "parallel": {"workers"}, "threads": {"workers"}, "w": {"workers"},
	"limit": {"show"}, "n": {"dry-run", "rows", "show"},
	"m": {"memory"}, "mem": {"memory"}, "ram": {"memory"},
	"message": {"reason"}, "user": {"by"},
	"q": {"quiet"}, "silent": {"quiet"},
	"sep": {"delimiter"}, "separator": {"delimiter"}, "s": {"delimiter"},
	"temp": {"tmp"}, "temp-dir": {"tmp"}, "tempdir": {"tmp"}, "tmpdir": {"tmp"},
	"token": {"token-file"}, "auth": {"token-file"},
	"count": {"rows"}, "size": {"rows"},
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
		if m := shortNumber.FindStringSubmatch(value); m != nil {
			return Usagef("%s %q is not a whole number; write %s%s", setting, value, m[1], strings.Repeat("000", 1+strings.Index("kmg", strings.ToLower(m[2]))))
		}
		return Usagef("%s %q is not a whole number such as 10", setting, value)
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

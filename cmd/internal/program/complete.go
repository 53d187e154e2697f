package program

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"promostore/format/generation"
)

// completeArg is the first argument of a request for completions.
const completeArg = "__complete"

// A completer collects the words that may take the place of the last word of a
// command line.
type completer struct {
	app   *cli.App
	words []string // before the last one
	last  string

	offers    []string // with a description after a tab
	directive string   // :files or :directories, which the shell completes
}

// complete prints the words that may take the place of the last of words, which
// follow the name of the program. A line is a word, or a word and its description
// with a tab between them, or a directive.
func complete(app *cli.App, words []string, w io.Writer) {
	app.Setup() // adds the command help and the flags of package cli
	c := &completer{app: app}
	if len(words) > 0 {
		c.words, c.last = words[:len(words)-1], words[len(words)-1]
	}
	c.complete()
	for _, offer := range c.offers {
		if strings.HasPrefix(offer, c.last) {
			fmt.Fprintln(w, offer)
		}
	}
	if c.directive != "" {
		fmt.Fprintln(w, c.directive)
	}
}

func (c *completer) complete() {
	at, command := find(c.app, append([]string{c.app.Name}, c.words...))
	flags, rest := c.app.Flags, c.words
	if command != nil {
		flags, rest = command.Flags, c.words[at:]
	}
	name, _, assigned := strings.Cut(c.last, "=")
	switch {
	case slices.Contains(rest, "--"):
		c.argument(command)
	case len(rest) > 0 && !isArgument(rest[len(rest)-1]) && takesNext(flags, rest[len(rest)-1]):
		c.value(command, flagNamed(flags, strings.TrimLeft(rest[len(rest)-1], "-")), "")
	case strings.HasPrefix(c.last, "--") && assigned:
		c.value(command, flagNamed(flags, strings.TrimLeft(name, "-")), name+"=")
	case strings.HasPrefix(c.last, "-") && c.last != "-":
		c.flags(flags)
	case command != nil:
		c.argument(command)
	case at == 0:
		c.commands()
	}
}

func (c *completer) offer(word, description string) {
	if description != "" {
		word += "\t" + description
	}
	c.offers = append(c.offers, word)
}

func (c *completer) commands() {
	for _, command := range c.app.VisibleCommands() {
		c.offer(command.Name, command.Usage)
	}
}

func (c *completer) flags(flags []cli.Flag) {
	for _, flag := range flags {
		if f, ok := flag.(cli.DocGenerationFlag); ok && flag.Names()[0] != "help" {
			c.offer("--"+flag.Names()[0], strings.ReplaceAll(f.GetUsage(), "`", ""))
		}
	}
	c.offer("--help", "show help")
}

// value offers the values of a flag, after prefix.
func (c *completer) value(command *cli.Command, flag cli.Flag, prefix string) {
	for _, choice := range choices(flag) {
		c.offer(prefix+choice, "")
	}
	switch metavariable(flag) {
	case "DIR":
		c.directive = ":directories"
	case "FILE":
		c.directive = ":files"
	case "ID":
		if command.Name != "build" { // which names a new generation
			c.generations(command, prefix)
		}
	}
}

// argument offers the arguments that the usage of a command names.
func (c *completer) argument(command *cli.Command) {
	if command == nil {
		return
	}
	if command.Name == "help" {
		c.commands()
		return
	}
	for _, word := range strings.FieldsFunc(command.ArgsUsage, func(r rune) bool { return !unicode.IsLetter(r) }) {
		switch word {
		case "FILE":
			c.directive = ":files"
		case "DIR":
			if c.directive == "" {
				c.directive = ":directories"
			}
		case "ID":
			c.generations(command, "")
		default:
			c.offer(word, "")
		}
	}
}

// generations offers the generations of the data directory of a command, newest
// first.
func (c *completer) generations(command *cli.Command, prefix string) {
	flag, ok := flagNamed(command.Flags, "data").(*cli.StringFlag)
	if !ok {
		return
	}
	dir := flag.Value
	for _, name := range flag.EnvVars {
		if value := os.Getenv(name); value != "" {
			dir = value
		}
	}
	for i, word := range c.words {
		if value, ok := strings.CutPrefix(word, "--data="); ok {
			dir = value
		} else if word == "--data" && i+1 < len(c.words) {
			dir = c.words[i+1]
		}
	}
	if rest, ok := strings.CutPrefix(dir, "~/"); ok {
		dir = filepath.Join(os.Getenv("HOME"), rest)
	}
	list, err := generation.List(dir)
	if err != nil {
		return
	}
	slices.SortFunc(list, func(a, b generation.Generation) int { return strings.Compare(b.ID.String(), a.ID.String()) })
	list = slices.CompactFunc(list, func(a, b generation.Generation) bool { return a.ID == b.ID }) // with several numbers of shards
	for _, g := range list {
		c.offer(prefix+g.ID.String(), g.ID.Time().Format(time.DateTime)+" UTC")
	}
}

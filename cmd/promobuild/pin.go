package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"promostore/format/generation"
	"promostore/reader"
)

func pinCommand() *cli.Command {
	return &cli.Command{
		Name:      "pin",
		Usage:     "have servers serve one generation, whatever is newer",
		ArgsUsage: "GENERATION",
		Description: `Servers go to it at their next look at the directory, and stay until it is
unpinned or another is pinned. The pin is a file of the directory,
promotions.pin: it survives restarts and travels with rsync. The generation is
read and checked first. A build that runs is no hindrance.

Example:
   promobuild pin --data /srv/promotions --reason "prices of today are wrong" 20261122T103000123Z`,
		Flags:  pinFlags(),
		Action: pin,
	}
}

func unpinCommand() *cli.Command {
	return &cli.Command{
		Name:      "unpin",
		Usage:     "have servers serve the newest good generation again",
		ArgsUsage: " ",
		Description: `The file promotions.pin stays and says who unpinned and why, so that rsync
takes that to other nodes, too.

Example:
   promobuild unpin --data /srv/promotions --reason "corrected"`,
		Flags:  pinFlags(),
		Action: unpin,
	}
}

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "pin the good generation before the one that is served",
		ArgsUsage: " ",
		Description: `Served is the pinned generation, or else the newest good one. Each further
rollback goes back by one more. Generations are read and checked first.

Example:
   promobuild rollback --data /srv/promotions --reason "prices of today are wrong"
   promobuild unpin --data /srv/promotions`,
		Flags:  pinFlags(),
		Action: rollback,
	}
}

// dataFlag is the directory of the generations, of which there must be one.
func dataFlag() cli.Flag {
	return &cli.StringFlag{Name: "data", Value: "./data", Usage: "`DIR` of the generations", TakesFile: true}
}

func pinFlags() []cli.Flag {
	return []cli.Flag{
		dataFlag(),
		&cli.StringFlag{Name: "reason", Usage: "`TEXT` for those who find the pin"},
		&cli.StringFlag{Name: "by", Usage: "`NAME` of who pins", DefaultText: "user@host"},
		&cli.BoolFlag{Name: "json", Usage: "print the pin as one JSON object"},
	}
}

func pin(c *cli.Context) error {
	args, err := wantArgs(c, 1, 1)
	if err != nil {
		return err
	}
	id, err := generation.ParseID(args[0])
	if err != nil {
		return usagef("pin: %v", err)
	}
	ctx, stop := untilSignal(c.Context)
	defer stop()
	g, err := generation.Find(c.String("data"), id)
	if err == nil {
		err = check(ctx, g, c.App.ErrWriter)
	}
	if err != nil {
		return unchanged(ctx, "pin", err)
	}
	return setPin(c, generation.Pin{Active: true, ID: id})
}

func unpin(c *cli.Context) error {
	if _, err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	return setPin(c, generation.Pin{})
}

func rollback(c *cli.Context) error {
	if _, err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	ctx, stop := untilSignal(c.Context)
	defer stop()
	id, err := before(ctx, c.String("data"), c.App.ErrWriter)
	if err != nil {
		return unchanged(ctx, "rollback", err)
	}
	return setPin(c, generation.Pin{Active: true, ID: id})
}

// before is the good generation before the one that is served.
func before(ctx context.Context, dir string, w io.Writer) (generation.ID, error) {
	list, err := generation.List(dir)
	if err != nil {
		return 0, err
	}
	pin, _ := generation.ReadPin(dir) // one that cannot be read does not keep anybody from going back
	verify := func(g generation.Generation) error { return check(ctx, g, w) }
	served, err := generation.First(ctx, pin.Candidates(list), verify)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	list = slices.DeleteFunc(list, func(g generation.Generation) bool { return g.ID >= served.ID })
	g, err := generation.First(ctx, generation.Pin{}.Candidates(list), verify)
	if err != nil {
		return 0, fmt.Errorf("%s: before %s, which is served: %w", dir, served.ID, err)
	}
	return g.ID, nil
}

// check reads all of g, with a bar if w is a terminal. The error is why a
// server would refuse it.
func check(ctx context.Context, g generation.Generation, w io.Writer) error {
	if !isTerminal(w) {
		return reader.VerifyGeneration(ctx, g, nil)
	}
	bar := newBar(w, -1, "check "+g.ID.String(), true)
	err := reader.VerifyGeneration(ctx, g, func(done, size int64) {
		bar.ChangeMax64(size)
		_ = bar.Set64(done)
	})
	_ = bar.Finish()
	return err
}

// setPin completes p with what the flags say, sets it and prints it.
func setPin(c *cli.Context, p generation.Pin) error {
	dir, name := c.String("data"), c.Command.Name
	p.By, p.Reason, p.At = c.String("by"), c.String("reason"), time.Now().UTC().Truncate(time.Millisecond)
	if p.By == "" {
		p.By = whoami()
	}
	if err := generation.SetPin(dir, p); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var err error
	switch {
	case c.Bool("json"):
		err = json.NewEncoder(c.App.Writer).Encode(p)
	case p.Active:
		_, err = fmt.Fprintf(c.App.Writer, "%s: generation %s is %s\n", dir, p.ID, pinText(p))
	default:
		_, err = fmt.Fprintf(c.App.Writer, "%s: un%s; the newest good generation is served\n", dir, pinText(p))
	}
	if err != nil {
		return fmt.Errorf("%s: it is done, but could not be printed: %w", name, err)
	}
	return nil
}

// pinText is p for people, but for its generation.
func pinText(p generation.Pin) string {
	text := "pinned"
	if p.By != "" {
		text += " by " + printable(p.By)
	}
	if !p.At.IsZero() {
		text += " at " + p.At.UTC().Format(time.DateTime)
	}
	if p.Reason != "" {
		text += ": " + printable(p.Reason)
	}
	return text
}

// printable is s without what could do something to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// whoami is user@host, as far as they have names.
func whoami() string {
	name := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// untilSignal ends with a signal to stop. A second one ends the process.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// unchanged is err of a command that changed nothing.
func unchanged(ctx context.Context, command string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: interrupted: nothing was changed: %w", command, context.Cause(ctx))
	}
	return fmt.Errorf("%s: %w", command, err)
}

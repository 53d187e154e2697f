package main

import (
	"context"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/escape"
)

func pinCommand() *cli.Command {
	return &cli.Command{
		Name:      "pin",
		Usage:     "make servers serve one generation, even if others are newer",
		ArgsUsage: "ID",
		Description: `Verify the generation and pin it. Servers change to it at their next poll, and
serve it until it is unpinned or another generation is pinned. With --until-newer,
the next servable generation also releases the pin. The pin is the file
promotions.pin in --data: it survives restarts and travels with rsync. A running
build does not matter.

Examples:
   promobuild pin --data /srv/promotions --reason "prices of today are wrong" 20261122T103000123Z
   promobuild pin --data /srv/promotions --until-newer 20261122T103000123Z`,
		Flags:  append(pinFlags(), digitsFlag(), untilNewerFlag()),
		Action: pin,
	}
}

// untilNewerFlag returns the flag that pin and rollback share.
func untilNewerFlag() cli.Flag {
	return &cli.BoolFlag{Name: "until-newer", Usage: "release the pin when a servable generation is newer than all present ones"}
}

// pinFlags returns the flags that pin, unpin and rollback share.
func pinFlags() []cli.Flag {
	return []cli.Flag{
		dataFlag("use the generations in `DIR`"),
		&cli.StringFlag{Name: "reason", Usage: "record `TEXT` as the reason"},
		&cli.StringFlag{Name: "by", Usage: "record `NAME` as the author", DefaultText: "user@host"},
		&cli.BoolFlag{Name: "json", Usage: "print the pin as a JSON object"},
	}
}

func pin(c *cli.Context) error {
	args, err := program.Args(c, 1, 1)
	if err != nil {
		return err
	}
	id, err := generation.ParseID(args[0])
	if err != nil {
		return program.Usagef("%v; promobuild list shows the IDs", err)
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	if err := checkDir(s.dir); err != nil {
		return err
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	p, err := pinChange(c).Pin(s.dir, id, s.digits, func(g generation.Generation) error { return s.check(ctx, g) })
	if err != nil {
		return unchanged(ctx, adviseShards(s.dir, err))
	}
	return printPin(c, s.dir, p)
}

// pinChange returns the change that the flags describe.
func pinChange(c *cli.Context) generation.PinChange {
	change := generation.PinChange{By: c.String("by"), Reason: c.String("reason"), UntilNewer: c.Bool("until-newer")}
	if change.By == "" {
		change.By = whoami()
	}
	return change
}

// printPin prints the new pin of dir.
func printPin(c *cli.Context, dir string, p generation.Pin) (err error) {
	if c.Bool("json") {
		err = program.PrintJSON(c.App.Writer, p)
	} else {
		_, err = fmt.Fprintf(c.App.Writer, "%s: %s\n", escape.Name(dir), escape.Name(p.Message()))
	}
	if err != nil {
		return fmt.Errorf("the pin is written, but cannot be printed: %w", err)
	}
	return nil
}

// pinText describes p, except its generation, on one line.
func pinText(p generation.Pin) string { return escape.Name(p.Details()) }

// whoami returns user@host.
func whoami() string {
	name := userName()
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// unchanged returns the error of a command that changed nothing.
func unchanged(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; nothing was changed: %w", context.Cause(ctx))
	}
	return err
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

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
	g, err := s.find(id)
	if err == nil {
		err = s.check(ctx, g)
	}
	if err != nil {
		return unchanged(ctx, err)
	}
	return setPin(c, s.dir, generation.Pin{Active: true, ID: id})
}

// setPin completes p from the flags, writes it and prints it.
func setPin(c *cli.Context, dir string, p generation.Pin) error {
	p.By, p.Reason, p.At = c.String("by"), c.String("reason"), time.Now().UTC().Truncate(time.Millisecond)
	if p.By == "" {
		p.By = whoami()
	}
	if p.Active && c.Bool("until-newer") {
		list, err := generation.List(dir)
		if err != nil {
			return err
		}
		if len(list) > 0 { // SetPin fails if it is empty
			p.UntilNewer, p.Newest = true, list[len(list)-1].ID
		}
	}
	if err := generation.SetPin(dir, p); err != nil {
		return err
	}
	var err error
	switch {
	case c.Bool("json"):
		err = json.NewEncoder(c.App.Writer).Encode(p)
	case p.Active:
		_, err = fmt.Fprintf(c.App.Writer, "%s: generation %s is %s\n", escape.Name(dir), p.ID, pinText(p))
	default:
		_, err = fmt.Fprintf(c.App.Writer, "%s: un%s; servers serve the newest servable generation\n", escape.Name(dir), pinText(p))
	}
	if err != nil {
		return fmt.Errorf("the pin is written, but cannot be printed: %w", err)
	}
	return nil
}

// pinText describes p, except its generation.
func pinText(p generation.Pin) string {
	text := "pinned"
	if p.UntilNewer {
		text += " until one newer than " + p.Newest.String() + " is servable,"
	}
	if p.By != "" {
		text += " by " + escape.Name(p.By)
	}
	if !p.At.IsZero() {
		text += " at " + p.At.UTC().Format(time.DateTime) + " UTC"
	}
	if p.Reason != "" {
		text += ": " + escape.Name(p.Reason)
	}
	return text
}

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

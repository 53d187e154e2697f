package main

import (
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
)

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:  "rollback",
		Usage: "pin the servable generation before the one that is served",
		Description: `Find the generation that servers serve: the pinned one, or else the newest
servable one. Pin the servable generation before it. Each further rollback goes
back by one more. Generations are verified first. With --until-newer, the next
servable generation releases the pin.

Examples:
   promobuild rollback --data /srv/promotions --reason "prices of today are wrong"
   promobuild rollback --data /srv/promotions --until-newer
   promobuild unpin --data /srv/promotions`,
		Flags:  append(pinFlags(), digitsFlag(), untilNewerFlag()),
		Action: rollback,
	}
}

func rollback(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
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
	s.warnOfPin(s.dir)
	p, err := pinChange(c).Rollback(ctx, s.dir, func(g generation.Generation) error { return s.check(ctx, g) })
	if err != nil {
		return unchanged(ctx, adviseShards(s.dir, err))
	}
	return printPin(c, s.dir, p)
}

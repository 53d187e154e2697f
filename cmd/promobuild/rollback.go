package main

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	g, _, err := s.previous(ctx)
	if err != nil {
		return unchanged(ctx, err)
	}
	return setPin(c, s.dir, generation.Pin{Active: true, ID: g.ID})
}

// previous returns the generation that a server of s.dir serves, and the servable
// one before it, which is not one that a released pin held back if there are
// others. A pin that cannot be read does not prevent a rollback.
func (s source) previous(ctx context.Context) (before, served generation.Generation, err error) {
	if served, err = s.live(ctx, s.dir, nil); err != nil {
		return before, served, err
	}
	list, err := generation.List(s.dir)
	if err != nil {
		return before, served, err
	}
	pin, _ := generation.ReadPin(s.dir)
	now := time.Now()
	list = slices.DeleteFunc(list, func(g generation.Generation) bool { return !g.ID.Before(served.ID, now) })
	if len(list) == 0 {
		return before, served, fmt.Errorf("%s: %w before %s, which is served", s.dir, generation.ErrNoneServable, served.ID)
	}
	before, err = generation.First(ctx, pin.Candidates(list), func(g generation.Generation) error { return s.check(ctx, g) })
	if err != nil {
		err = fmt.Errorf("%s: before %s, which is served: %w", s.dir, served.ID, err)
	}
	return before, served, err
}

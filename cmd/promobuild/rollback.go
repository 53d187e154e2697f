package main

import (
	"context"
	"fmt"
	"io"
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
back by one more. Generations are verified first.

Examples:
   promobuild rollback --data /srv/promotions --reason "prices of today are wrong"
   promobuild unpin --data /srv/promotions`,
		Flags:  pinFlags(),
		Action: rollback,
	}
}

func rollback(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	id, err := previous(ctx, c.String("data"), c.App.ErrWriter)
	if err != nil {
		return unchanged(ctx, err)
	}
	return setPin(c, generation.Pin{Active: true, ID: id})
}

// previous returns the servable generation before the one that is served. A pin
// that cannot be read does not prevent a rollback.
func previous(ctx context.Context, dir string, w io.Writer) (generation.ID, error) {
	list, err := generation.List(dir)
	if err != nil {
		return 0, err
	}
	pin, _ := generation.ReadPin(dir)
	verify := func(g generation.Generation) error { return verifyWithBar(ctx, g, w) }
	served, err := generation.First(ctx, pin.Candidates(list), verify)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	now := time.Now()
	list = slices.DeleteFunc(list, func(g generation.Generation) bool { return !g.ID.Before(served.ID, now) })
	if len(list) == 0 {
		return 0, fmt.Errorf("%s: %w before %s, which is served", dir, generation.ErrNoneServable, served.ID)
	}
	g, err := generation.First(ctx, generation.Pin{}.Candidates(list), verify)
	if err != nil {
		return 0, fmt.Errorf("%s: before %s, which is served: %w", dir, served.ID, err)
	}
	return g.ID, nil
}

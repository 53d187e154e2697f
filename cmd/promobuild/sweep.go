package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/internal/tasks"
)

func sweepCommand() *cli.Command {
	return &cli.Command{
		Name:      "sweep",
		Usage:     "remove work files of published and abandoned plans",
		ArgsUsage: "URL",
		Description: `Remove the work files of plans below URL, the --work of promobuild plan, that are
published, or that were made longer ago than --abandoned-after. Print the generations of
these plans. Files that a task leaves after that are removed when they are as old.
Published generations, and other files below URL, remain. promobuild plan does the same.

Examples:
   promobuild sweep s3://bucket/work
   promobuild sweep --abandoned-after 72h /mnt/work`,
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "abandoned-after", Value: tasks.DefaultAbandoned, Usage: "keep plans that are not published for `DURATION`"},
		}, objectFlags()...),
		Action: taskAction(sweep),
	}
}

func sweep(ctx context.Context, c *cli.Context) error {
	args, err := program.Args(c, 1, 1)
	if err != nil {
		return err
	}
	after := c.Duration("abandoned-after")
	if after < 0 {
		return program.Usagef("--abandoned-after %s is negative", after)
	}
	if err := checkURL(c, "URL", args[0]); err != nil {
		return err
	}
	removed, err := tasks.Sweep(ctx, args[0], objectOptions(c), after)
	for _, id := range removed {
		if _, err := fmt.Fprintf(c.App.Writer, "removed the work files of %s\n", id); err != nil {
			return err
		}
	}
	return err
}

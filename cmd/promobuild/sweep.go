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
		Description: `Remove the work files of published plans below URL, the --work of promobuild plan. The
plan itself and its result remain, so that late tasks and another promobuild publish
find that the generation is published. Remove all files of a plan when it was made, its
last task was done, and it was published --abandoned-after ago or earlier, according to
the clock of the storage. Print the generations of these plans. Published generations,
and other files below URL, remain. promobuild plan does the same.

Examples:
   promobuild sweep s3://bucket/work
   promobuild sweep --abandoned-after 72h /mnt/work`,
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "abandoned-after", Value: tasks.DefaultAbandoned, Usage: "keep plans for `DURATION` after their last task or publication"},
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

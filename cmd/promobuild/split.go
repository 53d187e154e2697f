package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/internal/english"
)

func splitCommand() *cli.Command {
	return &cli.Command{
		Name:      "split",
		Usage:     "do a split of a plan: sort it into a run for each shard",
		ArgsUsage: " ",
		Description: `Read the rows of one split of a plan, and write them, sorted, to the work files of the
plan, one file for each shard. It does no harm to call it again, at the same time, or on
another machine after it was killed. An index above those of the plan does nothing.

Exit with 1 if another attempt may succeed, and with 3 if it would fail too, such as
for bad rows, or an input that changed after the plan.

Examples:
   promobuild split --plan s3://bucket/work/20261122T103000123Z --index 12
   JOB_COMPLETION_INDEX=12 promobuild split --plan /mnt/work --memory 2GiB --temp-dir /scratch`,
		Flags:  taskFlags("do split `N`, counted from 0"),
		Action: taskAction(split),
	}
}

// splitSummary is the JSON object that split prints.
type splitSummary struct {
	Split      int     `json:"split"`
	Splits     int     `json:"splits"`
	Done       bool    `json:"done"`    // false: the plan has no such split
	Earlier    bool    `json:"earlier"` // another attempt has done it; the numbers are 0 if its work files are swept
	Rows       int64   `json:"rows"`
	BadRows    int64   `json:"bad_rows"`
	Duplicates int64   `json:"duplicates"` // within the split
	InputBytes int64   `json:"input_bytes"`
	Seconds    float64 `json:"seconds"`
}

func split(ctx context.Context, c *cli.Context) error {
	t, err := newTask(ctx, c)
	if err != nil {
		return err
	}
	r, err := runTask(ctx, c, t, t.plan.Split)
	if err != nil {
		return fmt.Errorf("split %d of %d: %w", t.index, len(t.plan.Splits), err)
	}
	s := splitSummary{Split: t.index, Splits: len(t.plan.Splits), Done: r.SplitDone != nil || r.Earlier, Earlier: r.Earlier}
	var text string
	if r.SplitDone != nil {
		s.Rows, s.BadRows, s.Duplicates, s.InputBytes, s.Seconds = r.Rows, r.BadRows, r.Duplicates, r.InputBytes, r.Seconds
		text = fmt.Sprintf("%s, %s bad, %.1f s", english.Count(r.Rows, "row"), humanize.Comma(r.BadRows), r.Seconds)
	}
	return printTask(c, s, fmt.Sprintf("split %d of %d", s.Split, s.Splits), text, s.Earlier)
}

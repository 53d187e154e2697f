package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/tasks"
)

func mergeCommand() *cli.Command {
	return &cli.Command{
		Name:      "merge",
		Usage:     "do a merge of a plan: make the file of a shard",
		ArgsUsage: " ",
		Description: `Merge the runs that all splits of a plan have written for one shard, and put the file
of the shard at the --out of the plan. promobuild pull does not see it before
promobuild publish. It does no harm to call it again, at the same time, or on another
machine after it was killed. An index above those of the plan does nothing.

Exit with 1 if another attempt may succeed, such as after a missing split is done, and
with 3 if it would fail too.

Examples:
   promobuild merge --plan s3://bucket/work/20261122T103000123Z --index 3
   JOB_COMPLETION_INDEX=3 promobuild merge --plan /mnt/work --memory 2GiB --temp-dir /scratch`,
		Flags:  taskFlags("make the file of shard `N`, counted from 0"),
		Action: taskAction(merge),
	}
}

// mergeSummary is the JSON object that merge prints.
type mergeSummary struct {
	Shard      int     `json:"shard"`
	Shards     int     `json:"shards"`
	Done       bool    `json:"done"`    // false: the plan has no such shard
	Earlier    bool    `json:"earlier"` // another attempt has done it; the numbers are 0 if its work files are swept
	Records    int64   `json:"records"`
	Duplicates int64   `json:"duplicates"`
	FileBytes  int64   `json:"file_bytes"`
	Seconds    float64 `json:"seconds"`
}

func merge(ctx context.Context, c *cli.Context) error {
	t, err := newTask(ctx, c)
	if err != nil {
		return err
	}
	r, err := runTask(ctx, c, t, t.plan.Merge)
	if err != nil {
		return fmt.Errorf("shard %d of %d: %w", t.index, t.plan.Shards, adviseMissing(err))
	}
	s := mergeSummary{Shard: t.index, Shards: t.plan.Shards, Done: r.MergeDone != nil || r.Earlier, Earlier: r.Earlier}
	var text string
	if r.MergeDone != nil {
		s.Records, s.Duplicates, s.FileBytes, s.Seconds = r.Records, r.Duplicates, r.File.Size, r.Seconds
		text = fmt.Sprintf("%s, %s, %.1f s", english.Count(r.Records, "record"), english.Count(r.Duplicates, "duplicate"), r.Seconds)
	}
	return printTask(c, s, fmt.Sprintf("merge %d of %d", s.Shard, s.Shards), text, s.Earlier)
}

// adviseMissing adds the command of the missing tasks to an error of one that needs
// them.
func adviseMissing(err error) error {
	var missing *tasks.MissingError
	kind := "merge"
	switch {
	case errors.As(err, &missing):
		kind = missing.Kind
	case !errors.As(err, new(*generation.IncompleteError)): // a file was deleted after its merge
		return err
	}
	return fmt.Errorf("%w\nRun promobuild %s --index N for each of them, and try again", err, kind)
}

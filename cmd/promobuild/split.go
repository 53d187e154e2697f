package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/internal/tasks"
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
	Earlier    bool    `json:"earlier"` // another attempt has done it
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
	r, err := t.split(ctx, c)
	if err != nil {
		return fmt.Errorf("split %d of %d: %w", t.index, len(t.plan.Splits), err)
	}
	s := splitSummary{Split: t.index, Splits: len(t.plan.Splits), Done: r.SplitDone != nil, Earlier: r.Earlier}
	if s.Done {
		s.Rows, s.BadRows, s.Duplicates, s.InputBytes, s.Seconds = r.Rows, r.BadRows, r.Duplicates, r.InputBytes, r.Seconds
	}
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(s)
	}
	_, err = fmt.Fprintf(c.App.Writer, "split %d of %d: %s\n", s.Split, s.Splits, s.text())
	return err
}

func (t task) split(ctx context.Context, c *cli.Context) (tasks.SplitResult, error) {
	p := newProgress(c.App.ErrWriter)
	defer p.finish()
	return t.plan.Split(ctx, t.index, t.options, p.observe)
}

func (s splitSummary) text() string {
	if !s.Done {
		return "nothing to do"
	}
	text := fmt.Sprintf("%s, %s bad, %.1f s", count(s.Rows, "row"), humanize.Comma(s.BadRows), s.Seconds)
	if s.Earlier {
		text += ", by another attempt"
	}
	return text
}

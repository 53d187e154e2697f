package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/tasks"
)

func publishCommand() *cli.Command {
	return &cli.Command{
		Name:      "publish",
		Usage:     "publish the generation of a plan after all merges",
		ArgsUsage: " ",
		Description: `Check that all merges of a plan are done, apply its limits to the sums of all shards,
and write the manifest at its --out, which makes the generation visible to promobuild
pull. It does no harm to call it again or at the same time: the result is the same.

Exit with 1 if another attempt may succeed, such as after a missing merge is done, and
with 3 if the limits refuse the data set.

Example:
   promobuild publish --plan s3://bucket/work/20261122T103000123Z --keep 5`,
		Flags: append([]cli.Flag{
			planFlag(),
			&cli.IntFlag{Name: "keep", Usage: "delete generations from --out that are older than the newest `N`, except the pinned one, the published one and those of plans under way", DefaultText: "keep all"},
			&cli.BoolFlag{Name: "json", Usage: "print the summary as a JSON object"},
		}, objectFlags()...),
		Action: taskAction(publish),
	}
}

// publishSummary is the JSON object that publish prints: that of build, without the
// fields of one process.
type publishSummary struct {
	builder.Summary
	SpilledBytes *int64   `json:"spilled_bytes,omitempty"`  // nil
	PeakRSSBytes *int64   `json:"peak_rss_bytes,omitempty"` // nil
	Removed      []string `json:"removed"`                  // generations that --keep deleted, oldest first
}

func publish(ctx context.Context, c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	keep, err := keepFlag(c)
	if err != nil {
		return err
	}
	plan, err := loadPlan(ctx, c)
	if err != nil {
		return err
	}
	plan.Program = program.Version()
	r, err := plan.Publish(ctx, keep)
	if err != nil {
		return adviseMissing(err)
	}
	warnOfPublished(c.App.ErrWriter, r)
	if c.Bool("json") {
		err = program.PrintJSON(c.App.Writer, publishSummary{Summary: r.Summary, Removed: texts(r.Removed)})
	} else {
		err = errors.Join(printSummary(c.App.Writer, r.Summary), printRemoved(c.App.Writer, r.Removed))
	}
	if err != nil {
		return fmt.Errorf("generation %s is published, but its summary cannot be printed: %w", r.Generation, err)
	}
	return nil
}

func printRemoved(w io.Writer, removed []generation.ID) (err error) {
	if len(removed) > 0 {
		_, err = fmt.Fprintf(w, "removed %s\n", english.Count(len(removed), "older generation"))
	}
	return err
}

// warnOfPublished warns of reasons why nodes may not serve the generation.
func warnOfPublished(w io.Writer, r tasks.PublishResult) {
	if warning := shardWarning(r.Summary); warning != "" {
		fmt.Fprintf(w, "warning: %s\n", warning)
	}
	if id, err := generation.ParseID(r.Generation); err == nil {
		warnIfPinned(w, r.Pin, id)
	}
	if r.Newer != 0 {
		fmt.Fprintf(w, "warning: servers prefer generation %s, which is newer%s\n", r.Newer, aheadText(r.Newer, time.Now()))
	}
}

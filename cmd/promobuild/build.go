package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/escape"
)

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "build a generation from CSV files",
		ArgsUsage: "FILE... | s3://BUCKET/KEY... | -",
		Description: `Read the rows of every FILE, or of standard input for -, and publish them as the
newest generation of --data. Inputs may be plain, gzip or zstd. A header row may
begin every FILE, and every part of a file that was joined of gzip or zstd files.
Several compressed files are read at the same time; of rows with the same id, the
order of the FILE arguments decides. A build that fails or is interrupted publishes nothing.

KEY names an object in object storage. A KEY with *, ? or [ is a pattern, and means
all objects that it matches, in the order of their names, except for markers such as
_SUCCESS. Credentials are those of the tools of AWS: environment, ~/.aws, instance.

Examples:
   promobuild build --data /srv/promotions promotions.csv
   promobuild build --memory 2GiB --json parts/*.csv.gz
   xz -dc promotions.csv.xz | promobuild build -
   promobuild build --shards 16 huge.csv.zst
   promobuild build 's3://exports/2026-11-27/part-*.csv.gz'
   promobuild build --max-bad-rows 100 --rejects rejects.csv promotions.csv
   promobuild build --wait-quiet 30s --require-final-newline export.csv`,
		Flags: append(append(buildFlags(),
			&cli.StringFlag{Name: "generation", Usage: "name the generation `ID`, such as 20261122T103000123Z", DefaultText: "the current time"},
			&cli.BoolFlag{Name: "force", Usage: "accept a --generation that is more than an hour ahead of the clock"},
			&cli.StringFlag{Name: "rejects", Usage: "write the bad rows and the reasons to `FILE`, as CSV", TakesFile: true},
			&cli.DurationFlag{Name: "wait-quiet", Usage: "before the build, wait until no FILE has changed for `DURATION`"},
			&cli.BoolFlag{Name: "json", Usage: "print the summary as a JSON object"},
			&cli.BoolFlag{Name: "quiet", Usage: "print no progress and no summary"},
		), objectFlags()...),
		Action: build,
	}
}

func build(c *cli.Context) error {
	args, err := program.Args(c, 1, math.MaxInt)
	if err != nil {
		return err
	}
	opts, err := buildOptions(c)
	if err != nil {
		return err
	}
	if text := c.String("generation"); text != "" {
		if opts.Generation, err = generation.ParseID(text); err != nil {
			return program.Usagef("--generation: %v", err)
		}
	}
	if quiet := c.Duration("wait-quiet"); quiet < 0 {
		return program.Usagef("--wait-quiet %s is negative", quiet)
	}
	opts.AllowFuture = c.Bool("force")
	opts.Source, opts.Program = generation.SourceCommand, program.Version()
	if warning := memoryWarning(opts.Memory); warning != "" {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", warning)
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()

	var passed []string
	objectOpts := objectOptions(c)
	if opts.Inputs, passed, err = inputs(ctx, args, c.App.Reader, objectOpts); err != nil {
		return explain(ctx, err, "")
	}
	rejects := &rejectsFile{}
	if path := c.String("rejects"); path != "" {
		if rejects, err = newRejects(path, args, c.App.Reader); err != nil {
			return err
		}
		opts.Rejects = rejects
	}
	if quiet := c.Duration("wait-quiet"); quiet > 0 {
		if err := waitQuiet(ctx, args, quiet); err != nil {
			return explain(ctx, err, "")
		}
		if opts.Inputs, passed, err = inputs(ctx, args, c.App.Reader, objectOpts); err != nil { // with their size now
			return explain(ctx, err, "")
		}
	}
	warnOfWriters(c.App.ErrWriter, args)
	if len(passed) > 0 && !c.Bool("quiet") {
		fmt.Fprintf(c.App.ErrWriter, "passed over %s, by their names no data sets: %s\n", english.Count(len(passed), "object"), escape.Name(passedText(passed)))
	}
	summary, err := buildWithProgress(ctx, opts, c.Bool("quiet"), c.App.ErrWriter)
	closeErr := rejects.Close()
	if err != nil {
		return explain(ctx, errors.Join(err, closeErr), rejects.path)
	}
	if closeErr != nil {
		return fmt.Errorf("generation %s is published, but its rejects are incomplete: %w", summary.Generation, closeErr)
	}
	if warning := shardWarning(summary); warning != "" {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s\n", warning)
	}
	warnOfPin(c.App.ErrWriter, opts.Dir, summary.Generation)
	switch {
	case c.Bool("json"):
		err = program.PrintJSON(c.App.Writer, summary)
	case !c.Bool("quiet"):
		err = printSummary(c.App.Writer, summary)
	}
	if err != nil {
		return fmt.Errorf("generation %s is published, but its summary cannot be printed: %w", summary.Generation, err)
	}
	return nil
}

// buildWithProgress runs the build and shows its progress on w until it returns.
func buildWithProgress(ctx context.Context, opts builder.Options, quiet bool, w io.Writer) (builder.Summary, error) {
	if !quiet {
		p := newProgress(w, "publish")
		defer p.finish()
		opts.Observe = p.observe
	}
	return builder.Build(ctx, opts)
}

// warnOfPin warns if a pin keeps servers from serving the generation that was
// published.
func warnOfPin(w io.Writer, dir, published string) {
	id, err := generation.ParseID(published)
	if err != nil {
		return
	}
	pin, err := generation.ReadPin(dir)
	if err == nil {
		warnIfPinned(w, pin, id)
	}
}

// warnIfPinned warns if pin keeps servers from serving a new generation.
func warnIfPinned(w io.Writer, pin generation.Pin, id generation.ID) {
	if pin.Active && pin.ID != id && !pin.ReleasedBy(id, time.Now()) {
		fmt.Fprintf(w, "warning: until promobuild unpin, servers serve generation %s, not the new one: it is %s\n", pin.ID, pinText(pin))
	}
}

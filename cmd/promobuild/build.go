package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/sysmem"
)

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:      "build",
		Usage:     "make one generation of one or more CSVs",
		ArgsUsage: "FILE... | -",
		Description: `Reads the rows of all FILEs, or of standard input for -, plain, gzip or zstd,
and publishes them as the newest generation of the data directory. Either all
of it or nothing happens.

Example:
   promobuild build --data /srv/promotions promotions.csv
   zcat parts/*.gz | promobuild build --memory 2GiB --json -`,
		Flags: append(tableFlags(),
			&cli.StringFlag{Name: "generation", Usage: "name of the generation: an `ID` such as 20261122T103000123Z", DefaultText: "now"},
			&cli.StringFlag{Name: "rejects", Usage: "`FILE` for the bad rows and what is wrong with them, as CSV", TakesFile: true},
			&cli.BoolFlag{Name: "json", Usage: "print the summary as one JSON object"},
			&cli.BoolFlag{Name: "quiet", Usage: "show neither progress nor summary"},
		),
		Action: build,
	}
}

// tableFlags say how a table becomes a generation, wherever it comes from.
func tableFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Value: "./data", Usage: "`DIR` of the generations, created if need be", TakesFile: true},
		&cli.StringFlag{Name: "memory", Usage: "memory to stay in: a `SIZE` such as 512MiB or 4G, at least 64MiB", DefaultText: "a quarter of what there is"},
		&cli.StringFlag{Name: "tmp", Usage: "`DIR` for what does not fit into memory", DefaultText: "the data directory", TakesFile: true},
		&cli.IntFlag{Name: "workers", Usage: "`N` goroutines parse and sort", DefaultText: "one a processor"},
		&cli.StringFlag{Name: "duplicates", Value: "last", Usage: "which row of an id to keep: `last|first|error`; error refuses duplicates"},
		&cli.Int64Flag{Name: "max-bad-rows", Usage: "leave out up to `N` bad rows; one more fails the build"},
		&cli.StringFlag{Name: "delimiter", Value: ",", Usage: "the character `C` is between fields; \\t is a tab"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "publish a generation without records"},
		&cli.Int64Flag{Name: "min-records", Usage: "refuse a table of fewer than `N` records"},
		&cli.Float64Flag{Name: "max-shrink", Usage: "refuse a table of more than `PERCENT` fewer records than the live generation has", DefaultText: "any number"},
	}
}

func build(c *cli.Context) error {
	opts, err := buildOptions(c)
	if err != nil {
		return err
	}
	// From here on a signal stops the build, which then cleans up. A second
	// one ends the process as usual.
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	if opts.Inputs, err = inputs(c.Args().Slice(), c.App.Reader); err != nil {
		return err
	}
	rejects := &rejectsFile{}
	if path := c.String("rejects"); path != "" {
		if rejects, err = newRejects(path, c.Args().Slice(), c.App.Reader); err != nil {
			return err
		}
		opts.Rejects = rejects
	}
	summary, err := buildVisibly(ctx, opts, c.Bool("quiet"), c.App.ErrWriter)
	closeErr := rejects.Close()
	if err != nil {
		return explain(ctx, errors.Join(err, closeErr), rejects.path)
	}
	if closeErr != nil {
		return fmt.Errorf("build: generation %s is published, but its rejects are not complete: %w", summary.Generation, closeErr)
	}
	switch {
	case c.Bool("json"):
		err = json.NewEncoder(c.App.Writer).Encode(summary)
	case !c.Bool("quiet"):
		err = printSummary(c.App.Writer, summary)
	}
	if err != nil {
		return fmt.Errorf("build: generation %s is published, but its summary could not be printed: %w", summary.Generation, err)
	}
	return nil
}

// buildVisibly shows the progress on w, and is done with that when it returns.
func buildVisibly(ctx context.Context, opts builder.Options, quiet bool, w io.Writer) (builder.Summary, error) {
	if !quiet {
		p := newProgress(w)
		defer p.finish()
		opts.Observe = p.observe
	}
	return builder.Build(ctx, opts)
}

// buildOptions are the options that the flags ask for, without inputs.
func buildOptions(c *cli.Context) (builder.Options, error) {
	if _, err := wantArgs(c, 1, math.MaxInt); err != nil {
		return builder.Options{}, err
	}
	opts, err := tableOptions(c)
	if err != nil {
		return opts, err
	}
	if text := c.String("generation"); text != "" {
		if opts.Generation, err = generation.ParseID(text); err != nil {
			return opts, usagef("build: --generation: %v", err)
		}
	}
	return opts, nil
}

// tableOptions are what tableFlags ask for.
func tableOptions(c *cli.Context) (builder.Options, error) {
	opts := builder.Options{
		Dir:        c.String("data"),
		TempDir:    c.String("tmp"),
		Workers:    c.Int("workers"),
		MaxBadRows: c.Int64("max-bad-rows"),
		AllowEmpty: c.Bool("allow-empty"),
		MinRecords: c.Int64("min-records"),
		MaxShrink:  c.Float64("max-shrink"),
	}
	name := c.Command.Name
	switch {
	case opts.Dir == "":
		return opts, usagef("%s: --data is empty", name)
	case opts.Workers < 0:
		return opts, usagef("%s: --workers %d is negative", name, opts.Workers)
	case opts.MaxBadRows < 0:
		return opts, usagef("%s: --max-bad-rows %d is negative", name, opts.MaxBadRows)
	case opts.MinRecords < 0:
		return opts, usagef("%s: --min-records %d is negative", name, opts.MinRecords)
	case c.IsSet("max-shrink") && !(opts.MaxShrink > 0 && opts.MaxShrink <= 100):
		return opts, usagef("%s: --max-shrink %v is not more than 0 and up to 100 per cent", name, opts.MaxShrink)
	}
	var err error
	if opts.Memory, err = memory(name, c.String("memory")); err != nil {
		return opts, err
	}
	if opts.Duplicates, err = duplicates(name, c.String("duplicates")); err != nil {
		return opts, err
	}
	opts.Delimiter, err = delimiter(name, c.String("delimiter"))
	return opts, err
}

func memory(command, text string) (int64, error) {
	if text == "" {
		return max(sysmem.Total()/4, builder.MinMemory), nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, usagef("%s: --memory %q is no size such as 512MiB or 4G", command, text)
	}
	if n < builder.MinMemory {
		return 0, usagef("%s: --memory %s is less than %s", command, text, humanize.IBytes(builder.MinMemory))
	}
	return int64(n), nil
}

func duplicates(command, text string) (builder.Duplicates, error) {
	switch text {
	case "last":
		return builder.KeepLast, nil
	case "first":
		return builder.KeepFirst, nil
	case "error":
		return builder.FailOnDuplicate, nil
	}
	return 0, usagef("%s: --duplicates %q is none of last, first and error", command, text)
}

// delimiter reads a character that cannot be part of a field.
func delimiter(command, text string) (byte, error) {
	if text == `\t` {
		text = "\t"
	}
	if len(text) != 1 || text[0] >= 0x80 {
		return 0, usagef("%s: --delimiter %q is not one ASCII character", command, text)
	}
	if !builder.ValidDelimiter(text[0]) {
		return 0, usagef("%s: --delimiter %q could be part of a field", command, text)
	}
	return text[0], nil
}

// explain adds to an error of Build the flags that help. rejects is the path of
// the rejects, if there are any.
func explain(ctx context.Context, err error, rejects string) error {
	var at *fs.PathError
	var bad *builder.BadRowsError
	var dup *builder.DuplicatesError
	var guard *builder.GuardError
	hint := ""
	switch {
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		return fmt.Errorf("build: interrupted: nothing was published: %w", context.Cause(ctx))
	case errors.As(err, &bad):
		hint = "correct the rows, or skip them: --max-bad-rows N --rejects FILE"
	case errors.As(err, &dup):
		hint = "keep one row of each id: --duplicates=last or --duplicates=first"
	case errors.As(err, &guard) && guard.Live == 0:
		hint = fmt.Sprintf("accept the data set: --min-records %d", guard.Records)
	case errors.As(err, &guard):
		hint = fmt.Sprintf("accept the data set: --max-shrink %.1f", guard.MaxShrink())
	case errors.Is(err, builder.ErrEmpty):
		hint = "publish an empty data set: --allow-empty"
	case errors.Is(err, builder.ErrWindow):
		hint = "compress the input without the --ultra and --long flags of zstd"
	case errors.Is(err, builder.ErrMemory):
		hint = "use more memory: --memory SIZE"
	case errors.Is(err, syscall.ENOSPC) && errors.As(err, &at) && at.Path == rejects:
		hint = "free space, or use another disk: --rejects FILE"
	case errors.Is(err, syscall.ENOSPC):
		hint = "free space, or use another disk: --data DIR --tmp DIR"
	default:
		return fmt.Errorf("build: %w", err)
	}
	return fmt.Errorf("build: %w\nnothing was published; %s", err, hint)
}

// printSummary prints s for people.
func printSummary(w io.Writer, s builder.Summary) error {
	perRecord := ""
	if s.Records > 0 {
		perRecord = fmt.Sprintf(", %.2f bytes a record", float64(s.FileBytes)/float64(s.Records))
	}
	var phases []string
	for _, phase := range []builder.Phase{builder.PhaseRead, builder.PhaseSort, builder.PhaseMerge, builder.PhasePublish} {
		if seconds, ok := s.Phases[phase]; ok {
			phases = append(phases, fmt.Sprintf("%s %.2f s", phase, seconds))
		}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "generation\t%s\n", s.Generation)
	fmt.Fprintf(t, "file\t%s\n", s.File)
	fmt.Fprintf(t, "rows\t%s\n", humanize.Comma(s.Rows))
	fmt.Fprintf(t, "records\t%s\n", humanize.Comma(s.Records))
	fmt.Fprintf(t, "duplicates\t%s\n", humanize.Comma(s.Duplicates))
	fmt.Fprintf(t, "bad rows\t%s\n", humanize.Comma(s.BadRows))
	fmt.Fprintf(t, "input\t%s bytes\n", humanize.Comma(s.InputBytes))
	fmt.Fprintf(t, "output\t%s bytes%s\n", humanize.Comma(s.FileBytes), perRecord)
	fmt.Fprintf(t, "spilled\t%s bytes\n", humanize.Comma(s.SpilledBytes))
	fmt.Fprintf(t, "time\t%.2f s: %s\n", s.Seconds, strings.Join(phases, ", "))
	fmt.Fprintf(t, "speed\t%s rows/s\n", humanize.Comma(int64(float64(s.Rows)/max(s.Seconds, 1e-9))))
	fmt.Fprintf(t, "peak memory\t%s\n", humanize.IBytes(uint64(s.PeakRSSBytes)))
	return t.Flush()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/tasks"
)

// planFlag returns the flag of the commands that follow a plan.
func planFlag() cli.Flag {
	return &cli.StringFlag{Name: "plan", Usage: "follow the plan `URL` that promobuild plan prints, or the newest plan below it", TakesFile: true}
}

// taskFlags returns the flags of the commands that an engine calls with an index.
func taskFlags(index string) []cli.Flag {
	return append([]cli.Flag{
		planFlag(),
		&cli.IntFlag{Name: "index", Usage: index + "; required", DefaultText: "none", EnvVars: []string{"JOB_COMPLETION_INDEX"}},
		memoryFlag(),
		workersFlag(),
		&cli.StringFlag{Name: "temp-dir", Usage: "keep temporary files in `DIR`, and remove those of killed tasks", DefaultText: "TMPDIR or /tmp", TakesFile: true},
		&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
	}, objectFlags()...)
}

// A task is a call of a command with taskFlags.
type task struct {
	plan    *tasks.Plan
	index   int
	options tasks.Options
}

// newTask loads the plan and checks the flags of taskFlags.
func newTask(ctx context.Context, c *cli.Context) (t task, err error) {
	if _, err := program.Args(c, 0, 0); err != nil {
		return t, err
	}
	if !c.IsSet("index") {
		return t, program.Usagef("--index is missing; it counts from 0")
	}
	if t.index = c.Int("index"); t.index < 0 {
		return t, program.Usagef("--index %d is negative", t.index)
	}
	t.options.TempDir = c.String("temp-dir")
	if t.options.TempDir == "" {
		t.options.TempDir = os.TempDir()
	}
	if t.options.Workers, err = workers(c); err != nil {
		return t, err
	}
	if t.options.Memory, err = memory(c.String("memory")); err != nil {
		return t, err
	}
	if err := checkWritableDir(t.options.TempDir); err != nil {
		return t, fmt.Errorf("--temp-dir %s: %w", t.options.TempDir, denied(err))
	}
	t.plan, err = loadPlan(ctx, c)
	return t, err
}

// runTask runs a task and shows its progress.
func runTask[R any](ctx context.Context, c *cli.Context, t task, run func(context.Context, int, tasks.Options, func(builder.Status)) (R, error)) (R, error) {
	p := newProgress(c.App.ErrWriter, "sync")
	defer p.finish()
	return run(ctx, t.index, t.options, p.observe)
}

// printTask prints the summary of a task, or its name and a text, which is empty if
// the task had nothing to do.
func printTask(c *cli.Context, summary any, name, text string, earlier bool) error {
	if c.Bool("json") {
		return program.PrintJSON(c.App.Writer, summary)
	}
	switch {
	case text == "" && earlier:
		text = "nothing to do, the generation is published"
	case text == "":
		text = "nothing to do"
	case earlier:
		text += ", by another attempt"
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: %s\n", name, text)
	return err
}

// loadPlan returns the plan that planFlag names.
func loadPlan(ctx context.Context, c *cli.Context) (*tasks.Plan, error) {
	url := c.String("plan")
	if url == "" {
		return nil, program.Usagef("--plan is missing; promobuild plan prints the URL")
	}
	if err := checkURL(c, "--plan", url); err != nil {
		return nil, err
	}
	return tasks.Load(ctx, url, objectOptions(c))
}

// checkURL returns a usage error if url, the value of name, cannot be accessed with
// the flags of objectFlags.
func checkURL(c *cli.Context, name, url string) error {
	if _, _, err := objects.Parse(url, objectOptions(c)); err != nil {
		return program.Usagef("%s: %v", name, err)
	}
	return nil
}

// taskAction returns the action of a command of internal/tasks. An error that
// another attempt would have too makes the program exit with ExitPermanent.
func taskAction(action func(ctx context.Context, c *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		ctx, stop := program.Interruptible(c.Context)
		defer stop()
		err := action(ctx, c)
		switch {
		case err == nil, errors.As(err, new(*program.UsageError)):
			return err
		case interrupted(ctx, err):
			return fmt.Errorf("interrupted; another attempt begins again: %w", context.Cause(ctx))
		}
		if hint := taskHint(err); hint != "" {
			err = fmt.Errorf("%w\n%s", err, hint)
		}
		if tasks.IsPermanent(err) {
			return program.Permanent(err)
		}
		return err
	}
}

// taskHint returns advice about an error of a task, or "".
func taskHint(err error) string {
	var guard *builder.GuardError
	var content *builder.ContentError
	var delimiter *builder.DelimiterError
	var changed *builder.ChangedError
	switch {
	case errors.As(err, &delimiter) && delimiter.Preamble:
		return "Remove the first line, and plan again with the delimiter of the input: " + delimiterFlag(delimiter.Found)
	case errors.As(err, &delimiter):
		return "Plan again with the delimiter of the input: " + delimiterFlag(delimiter.Found)
	case hasRemedy(err):
		return ""
	case errors.As(err, new(*builder.BadRowsError)):
		return "Correct the rows and plan again, or skip them: --max-bad-rows N of promobuild plan"
	case errors.As(err, &changed):
		return "Plan again after its writer is done"
	case errors.Is(err, builder.ErrUnterminated):
		return "Complete the file, or plan again without --require-final-newline"
	case errors.As(err, new(*builder.DuplicatesError)):
		return "Keep one row of each id: plan again with --duplicates=last or --duplicates=first"
	case errors.As(err, &guard):
		flag, value := guardFlag(guard)
		return "To accept the data set, plan again with " + flag + " " + strings.TrimSuffix(value, ",")
	case errors.As(err, &content) && content.Cause == nil:
		return "To accept the data set, plan again with " + strings.Join(contentFlags(content), " ")
	case errors.As(err, &content):
		return "To publish it without a comparison, plan again without --max-added, --max-removed and --max-changed"
	case errors.Is(err, builder.ErrEmpty):
		return "To publish an empty data set, plan again with --allow-empty"
	case errors.Is(err, generation.ErrFuture):
		return "Correct the clock, or choose another --generation"
	case errors.Is(err, builder.ErrRecords):
		return "Plan again with more --shards"
	case errors.Is(err, builder.ErrMemory):
		return "Use more memory: --memory SIZE"
	case errors.Is(err, objects.ErrDenied):
		return "Check the credentials, and the place of the bucket: --s3-endpoint URL --s3-region NAME"
	case errors.Is(err, syscall.ENOSPC):
		return "Free space; temporary files can be on another disk: --temp-dir DIR"
	}
	return ""
}

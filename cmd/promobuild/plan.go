package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/internal/objects"
	"promostore/internal/tasks"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "divide a build into tasks for many machines",
		ArgsUsage: "FILE... | s3://BUCKET/KEY...",
		Description: `Fix the inputs, the splits and the policies of a generation, write them to --work, and
print the URL of the plan. An engine then calls promobuild split for each split,
promobuild merge for each shard, and promobuild publish. The published files are those
of promobuild build with the same inputs, generation and shards.

--work and --out are s3://BUCKET/PREFIX or directories that all machines mount under
the same path, and so are the inputs. KEY can be a pattern, as in promobuild build.
Large inputs that are not compressed are cut into splits; a compressed input is one.
--out is for promobuild pull. The data directory of a server is refused.

The same plan of one --generation can be made again; tasks that are done do nothing.
Like promobuild sweep, plan removes work files of other plans.

Examples:
   promobuild plan 's3://exports/2026-11-27/part-*.csv.gz' --work s3://bucket/work --out s3://bucket/promotions
   promobuild plan --dry-run --shards 64 /mnt/exports/huge.csv --work /mnt/work --out /mnt/promotions`,
		Flags: append(append([]cli.Flag{
			&cli.StringFlag{Name: "work", Usage: "keep the plan and the work files below `URL`", TakesFile: true},
			&cli.StringFlag{Name: "out", Usage: "publish at `URL`", TakesFile: true},
			&cli.StringFlag{Name: "generation", Usage: "name the generation `ID`, such as 20261122T103000123Z", DefaultText: "the current time, or one after the newest generation of --out"},
			&cli.StringFlag{Name: "split-size", Usage: "divide the inputs into splits of `SIZE`, such as 256MiB", DefaultText: "1GiB, or more if there would be over 4,096 splits"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the plan, but write and remove nothing"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		}, policyFlags(16)...), objectFlags()...),
		Action: taskAction(plan),
	}
}

// planSummary is the JSON object that plan prints.
type planSummary struct {
	Plan        string   `json:"plan"` // URL
	Generation  string   `json:"generation"`
	Splits      int      `json:"splits"`
	Shards      int      `json:"shards"`
	ShardBy     string   `json:"shard_by"`
	Inputs      int      `json:"inputs"`
	InputBytes  int64    `json:"input_bytes"`
	MemoryBytes int64    `json:"memory_bytes"`     // that a task needs at least
	SplitDisk   int64    `json:"split_disk_bytes"` // temporary disk of a split, estimated
	MergeDisk   int64    `json:"merge_disk_bytes"` // temporary disk of a merge, estimated
	New         bool     `json:"new"`              // it was not there before
	Published   bool     `json:"published"`        // tasks have nothing to do
	DryRun      bool     `json:"dry_run"`
	Removed     []string `json:"removed"` // generations whose work files were removed
}

func plan(ctx context.Context, c *cli.Context) error {
	args, err := program.Args(c, 1, math.MaxInt)
	if err != nil {
		return err
	}
	opts := tasks.MakeOptions{Work: c.String("work"), Out: c.String("out"), Objects: objectOptions(c), DryRun: c.Bool("dry-run")}
	for _, flag := range []string{"work", "out"} {
		if c.String(flag) == "" {
			return program.Usagef("--%s is missing; it is s3://BUCKET/PREFIX or a directory", flag)
		}
		if err := checkURL(c, "--"+flag, c.String(flag)); err != nil {
			return err
		}
	}
	policies, err := policyOptions(c)
	if err != nil {
		return err
	}
	opts.Policies, opts.Sharding = tasks.PoliciesOf(&policies), policies.Sharding
	if text := c.String("generation"); text != "" {
		if opts.Generation, err = generation.ParseID(text); err != nil {
			return program.Usagef("--generation: %v", err)
		}
	}
	if opts.SplitSize, err = splitSize(c); err != nil {
		return err
	}
	var passed []string
	if opts.Inputs, passed, err = planInputs(ctx, args, opts.Objects); err != nil {
		return err
	}
	if len(passed) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "passed over %s, by their names no data sets: %s\n", english.Count(len(passed), "object"), escape.Name(passedText(passed)))
	}
	made, err := tasks.Make(ctx, opts)
	if err != nil {
		return err
	}
	if made.Sweep != nil {
		fmt.Fprintf(c.App.ErrWriter, "warning: work files of earlier plans remain: %v\n", made.Sweep)
	}
	s := newPlanSummary(made)
	s.DryRun = opts.DryRun
	if c.Bool("json") {
		return program.PrintJSON(c.App.Writer, s)
	}
	return printPlan(c.App.Writer, s)
}

// splitSize returns the value of --split-size; 0 if it is not set.
func splitSize(c *cli.Context) (int64, error) {
	text := c.String("split-size")
	if text == "" {
		return 0, nil
	}
	n, ok := size(text)
	if !ok || n <= 0 {
		return 0, program.Usagef("--split-size %q is not a size such as 256MiB or 4GiB", text)
	}
	return n, nil
}

// planInputs returns the inputs of a plan. Files are objects of a directory, because
// tasks open them on other machines.
func planInputs(ctx context.Context, args []string, opts objects.Options) (list []tasks.Source, passed []string, err error) {
	for _, arg := range args {
		if objects.IsURL(arg) {
			found, others, err := namedObjects(ctx, arg, opts)
			if err != nil {
				return nil, nil, err
			}
			list, passed = append(list, found...), append(passed, others...)
			continue
		}
		o, err := planFile(ctx, arg)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, o)
	}
	return list, passed, nil
}

// planFile returns a file as an input of a plan.
func planFile(ctx context.Context, arg string) (tasks.Source, error) {
	if arg == "-" {
		return tasks.Source{}, program.Usagef("standard input, -, cannot be read by several tasks; write it to a file, or use promobuild build")
	}
	if err := checkFile(arg); err != nil {
		return tasks.Source{}, err
	}
	if !utf8.ValidString(arg) {
		return tasks.Source{}, program.Usagef("%s: name is not valid UTF-8; rename the file", arg)
	}
	info, err := os.Stat(arg)
	if err != nil {
		return tasks.Source{}, err
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return tasks.Source{}, program.Usagef("%s is a %s, which several tasks cannot read; write it to a file, or use promobuild build", arg, pipeText(mode))
	}
	s, key, err := objects.Parse(arg, objects.Options{})
	if err != nil {
		return tasks.Source{}, err
	}
	o, err := statObject(ctx, s, key)
	return tasks.Source{Store: s, Object: o}, err
}

// pipeText names a file that is not regular.
func pipeText(mode fs.FileMode) string {
	if mode&fs.ModeNamedPipe != 0 {
		return "pipe"
	}
	return "device"
}

func newPlanSummary(made tasks.Made) planSummary {
	s := planSummary{
		Plan: made.URL(), Generation: made.Generation, Splits: len(made.Splits), Shards: made.Shards, ShardBy: made.ShardBy,
		Inputs: len(made.Inputs), InputBytes: made.InputBytes(), New: made.New, Published: made.Published, Removed: []string{},
	}
	needs := made.Needs()
	s.MemoryBytes, s.SplitDisk, s.MergeDisk = needs.Memory, needs.SplitDisk, needs.MergeDisk
	for _, id := range made.Removed {
		s.Removed = append(s.Removed, id.String())
	}
	return s
}

func printPlan(w io.Writer, s planSummary) error {
	state := ""
	switch {
	case s.DryRun:
		state = ", not written"
	case s.Published:
		state = ", is published already: nothing to do"
	case !s.New:
		state = ", is there already"
	}
	shards := humanize.Comma(int64(s.Shards))
	if s.Shards > 1 {
		shards += ", by the " + s.ShardBy + " digits"
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "plan\t%s%s\n", escape.Name(s.Plan), state)
	fmt.Fprintf(t, "generation\t%s\n", s.Generation)
	fmt.Fprintf(t, "inputs\t%s, %s\n", humanize.Comma(int64(s.Inputs)), humanize.IBytes(uint64(s.InputBytes)))
	fmt.Fprintf(t, "splits\t%s\n", humanize.Comma(int64(s.Splits)))
	fmt.Fprintf(t, "shards\t%s\n", shards)
	fmt.Fprintf(t, "memory\t%s or more for each task\n", humanize.IBytes(uint64(s.MemoryBytes)))
	fmt.Fprintf(t, "temporary disk\tabout %s for a split, %s for a merge\n", humanize.IBytes(uint64(s.SplitDisk)), humanize.IBytes(uint64(s.MergeDisk)))
	if len(s.Removed) > 0 {
		fmt.Fprintf(t, "removed\twork files of %s\n", english.Count(len(s.Removed), "earlier plan"))
	}
	return t.Flush()
}

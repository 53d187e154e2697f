package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
)

// maxShow bounds the rows that diff holds in memory before it prints them.
const maxShow = 100_000

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two generations",
		ArgsUsage: "[FILE|DIR|ID [FILE|DIR|ID]]",
		Description: `Count the promotions that the second generation adds, removes and changes, and
show the first rows of each kind. A row has changed if its price or date is
written differently. Exit with 0 whether the generations differ or not. They may
have different numbers of shards.

` + argumentHelp + `

The second argument defaults to --data. Without arguments, or with one that is a
directory, compare the generation that is served with the servable one before it.

Examples:
   promobuild diff --data /srv/promotions
   promobuild diff --data /srv/promotions 20261122T103000123Z 20261122T110000456Z`,
		Flags: append(sourceFlags(),
			&cli.IntFlag{Name: "show", Value: 10, Usage: fmt.Sprintf("show up to `N` rows of each kind, at most %d", maxShow)},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		),
		Action: program.Printing(runDiff),
	}
}

func runDiff(c *cli.Context) error {
	args, err := program.Args(c, 0, 2)
	if err != nil {
		return err
	}
	show := c.Int("show")
	if show < 0 || show > maxShow {
		return program.Usagef("--show %d is not from 0 to %d", show, maxShow)
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	from, to, err := s.openSides(ctx, args)
	if err != nil {
		return err
	}
	defer from.Close()
	defer to.Close()
	if !sameShards(from, to) {
		fmt.Fprintf(c.App.ErrWriter, "warning: %s and %s: promotions that only one of them can have count as added or removed\n",
			escape.Name(from.describe()), escape.Name(to.describe()))
	}
	var progress func(int)
	finish := func() error { return nil }
	if isTerminal(c.App.ErrWriter) {
		bar := newBar(c.App.ErrWriter, max(1, int64(from.Header.Records+to.Header.Records)*format.RecordLen), "diff", true)
		progress = func(n int) { _ = bar.Add(n * format.RecordLen) }
		finish = bar.Finish
	}
	d, err := compare(ctx, from, to, show, progress)
	_ = finish()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case err != nil:
		return err
	case c.Bool("json"):
		return program.PrintJSON(c.App.Writer, d)
	}
	return printComparison(c.App.Writer, &d)
}

// openSides opens the two generations that args name.
func (s source) openSides(ctx context.Context, args []string) (from, to opened, err error) {
	if len(args) == 1 && isDir(args[0]) {
		s.dir, args = args[0], nil
	}
	switch len(args) {
	case 0:
		if err := checkDir(s.dir); err != nil {
			return from, to, err
		}
		before, served, err := s.previous(ctx)
		if err != nil {
			return from, to, err
		}
		if from, err = s.openGeneration(before); err != nil {
			return from, to, err
		}
		if to, err = s.openGeneration(served); err != nil {
			from.Close()
		}
		return from, to, err
	case 1:
		args = append(args, s.dir)
	}
	if from, err = s.open(ctx, args[0]); err != nil {
		return from, to, err
	}
	if to, err = s.open(ctx, args[1]); err != nil {
		from.Close()
	}
	return from, to, err
}

// sameShards reports whether any id can be in both a and b or in neither.
func sameShards(a, b opened) bool {
	if len(a.Open()) == len(a.Files) && len(b.Open()) == len(b.Files) {
		return true
	}
	isOpen := func(f generation.Indexed) bool { return f.File != nil }
	return a.Header.Sharding == b.Header.Sharding &&
		slices.EqualFunc(a.Files, b.Files, func(f, g generation.Indexed) bool { return isOpen(f) == isOpen(g) })
}

// describe returns the path of o and the shards that o consists of.
func (o opened) describe() string {
	if part := o.partText(); part != "" {
		return o.path + " is " + part
	}
	return o.path + " is a whole generation"
}

package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/reader"
)

// maxShow bounds the rows that diff holds in memory before it prints them.
const maxShow = 100_000

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two generations",
		ArgsUsage: "FILE|DIR|ID FILE|DIR|ID",
		Description: `Count the promotions that the second generation adds, removes and changes, and
show the first rows of each kind. A row has changed if its price or date is
written differently. Both files are read once and checked. ID selects a generation
of --data; DIR selects its newest generation with a good index.

Exit with 0 whether the generations differ or not.

Example:
   promobuild diff --data /srv/promotions 20261122T103000123Z 20261122T110000456Z`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Value: "./data", Usage: "find an ID in `DIR`", TakesFile: true},
			&cli.IntFlag{Name: "show", Value: 10, Usage: fmt.Sprintf("show up to `N` rows of each kind, at most %d", maxShow)},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		},
		Action: program.Printing(diff),
	}
}

func diff(c *cli.Context) error {
	args, err := program.Args(c, 2, 2)
	if err != nil {
		return err
	}
	show := c.Int("show")
	if show < 0 || show > maxShow {
		return program.Usagef("--show %d is not from 0 to %d", show, maxShow)
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	var files [2]*reader.File
	var sides [2]side
	for i, arg := range args {
		f, path, err := openGeneration(c.String("data"), arg)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i], sides[i] = f, side{path, f.ID().String(), f.Header().Records}
	}
	d := &differ{show: show}
	d.From, d.To = sides[0], sides[1]
	finish := func() error { return nil }
	if isTerminal(c.App.ErrWriter) {
		bar := newBar(c.App.ErrWriter, max(1, int64(d.From.Records+d.To.Records)*format.RecordLen), "diff", true)
		d.progress = func(n int) { _ = bar.Add(n * format.RecordLen) }
		finish = bar.Finish
	}
	err = d.run(ctx, files[0], files[1])
	_ = finish()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	case err != nil:
		return err
	case c.Bool("json"):
		return json.NewEncoder(c.App.Writer).Encode(d.comparison)
	}
	return printComparison(c.App.Writer, &d.comparison)
}

// openGeneration opens the generation of dir whose ID is arg, or else the file or
// directory arg.
func openGeneration(dir, arg string) (*reader.File, string, error) {
	id, err := generation.ParseID(arg)
	if err != nil {
		return open(arg)
	}
	g, err := generation.Find(dir, id)
	if err != nil {
		return nil, "", err
	}
	return open(g.Files[0])
}

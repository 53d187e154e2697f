package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "remove old generations",
		ArgsUsage: " ",
		Description: `Keep the newest N servable generations and the pinned one, and remove all that
are older. The kept generations are verified first. Bad and incomplete
generations do not count; newer ones remain, because they may still be arriving. A
generation counts once, however many shards it has.
A server that has a removed file open can still read it.

Example:
   promobuild prune --data /srv/promotions --keep 3 --dry-run`,
		Flags: []cli.Flag{
			dataFlag("use the generations in `DIR`"),
			digitsFlag(),
			&cli.IntFlag{Name: "keep", Value: 2, Usage: "keep `N` servable generations"},
			&cli.BoolFlag{Name: "dry-run", Usage: "print the generations that would be removed, and remove none"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		},
		Action: prune,
	}
}

// pruneSummary is the JSON object that prune prints.
type pruneSummary struct {
	Removed []string `json:"removed"` // generations, oldest first
	Kept    []string `json:"kept"`    // the others, oldest first
	Bytes   int64    `json:"bytes"`   // of the removed files
	DryRun  bool     `json:"dry_run"`
}

func prune(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	keep := c.Int("keep")
	if keep < 1 {
		return program.Usagef("--keep %d is less than 1", keep)
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	if err := checkDir(s.dir); err != nil { // OpenWriter would create it
		return err
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	w, err := generation.OpenWriter(s.dir)
	if err != nil {
		return err
	}
	defer w.Close()
	pruned, err := w.Prune(ctx, generation.PruneOptions{
		Keep:   keep,
		DryRun: c.Bool("dry-run"),
		Check:  func(g generation.Generation) error { return s.check(ctx, g) },
	})
	if err != nil && len(pruned.Removed) == 0 {
		return unchanged(ctx, err)
	}
	s.warnIncomplete(pruned.Kept, keep)
	summary := pruneSummary{idsOf(pruned.Removed), idsOf(pruned.Kept), pruned.Bytes, c.Bool("dry-run")}
	if c.Bool("json") {
		return errors.Join(program.PrintJSON(c.App.Writer, summary), err)
	}
	return errors.Join(printPruned(c.App.Writer, summary), err)
}

// warnIncomplete warns if prune keeps old generations because too many of list, those
// that are kept, lack shards. So does the directory of a server of some digits if
// --digits is missing; it would fill the disk.
func (s source) warnIncomplete(list []generation.Generation, keep int) {
	complete := 0
	var last error
	for _, g := range list {
		missing := g.MissingOf(s.digits)
		if len(missing) == 0 {
			complete++
			continue
		}
		last = &generation.IncompleteError{ID: g.ID, Shards: g.Shards, Missing: missing}
	}
	if complete < keep && len(list) > keep {
		fmt.Fprintf(s.stderr, "warning: removed nothing, because only %s of %d can be served: %s\n", english.Count(complete, "generation"), len(list), adviseShards(s.dir, last))
	}
}

func idsOf(list []generation.Generation) []string {
	ids := []string{}
	for _, g := range list {
		ids = append(ids, g.ID.String())
	}
	return ids
}

func printPruned(w io.Writer, s pruneSummary) error {
	removed := "removed"
	if s.DryRun {
		removed = "would remove"
	}
	for _, id := range s.Removed {
		if _, err := fmt.Fprintln(w, removed, id); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s %s of %s bytes; %s left\n", removed, english.Count(len(s.Removed), "generation"),
		humanize.Comma(s.Bytes), english.Count(len(s.Kept), "generation"))
	return err
}

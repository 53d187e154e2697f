package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/format/generation"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name:      "prune",
		Usage:     "remove old generations",
		ArgsUsage: " ",
		Description: `Removes what is older than the newest good generations, of which it keeps N. The
pinned one stays, too. Those that it keeps are read and checked first: bad and
incomplete ones do not count, and newer ones are left alone, since they may
still be arriving. A server that has a removed file open goes on reading it.

Example:
   promobuild prune --data /srv/promotions --keep 3 --dry-run`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.IntFlag{Name: "keep", Value: 2, Usage: "keep `N` good generations"},
			&cli.BoolFlag{Name: "dry-run", Usage: "remove nothing, and say what would be"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: prune,
	}
}

// pruneSummary is what prune --json prints.
type pruneSummary struct {
	Removed []string `json:"removed"` // generations, oldest first
	Kept    []string `json:"kept"`    // all that is left, oldest first
	Bytes   int64    `json:"bytes"`   // that were removed
	DryRun  bool     `json:"dry_run"`
}

func prune(c *cli.Context) error {
	if _, err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	dir, keep := c.String("data"), c.Int("keep")
	if keep < 1 {
		return usagef("prune: --keep %d is less than 1", keep)
	}
	// Else it would be created.
	if st, err := os.Stat(dir); err != nil {
		return fmt.Errorf("prune: %w", err)
	} else if !st.IsDir() {
		return fmt.Errorf("prune: %s: %w", dir, syscall.ENOTDIR)
	}
	ctx, stop := untilSignal(c.Context)
	defer stop()
	w, err := generation.OpenWriter(dir)
	if err != nil {
		return fmt.Errorf("prune: %w", err)
	}
	defer w.Close()
	pruned, err := w.Prune(ctx, generation.PruneOptions{
		Keep:   keep,
		DryRun: c.Bool("dry-run"),
		Check:  func(g generation.Generation) error { return check(ctx, g, c.App.ErrWriter) },
	})
	if err != nil && len(pruned.Removed) == 0 {
		return unchanged(ctx, "prune", err)
	}
	if err != nil {
		err = fmt.Errorf("prune: %w", err)
	}
	s := pruneSummary{idsOf(pruned.Removed), idsOf(pruned.Kept), pruned.Bytes, c.Bool("dry-run")}
	if c.Bool("json") {
		return errors.Join(json.NewEncoder(c.App.Writer).Encode(s), err)
	}
	return errors.Join(printPruned(c.App.Writer, s), err)
}

func idsOf(list []generation.Generation) []string {
	ids := []string{}
	for _, g := range list {
		ids = append(ids, g.ID.String())
	}
	return ids
}

func printPruned(w io.Writer, s pruneSummary) error {
	did := "removed"
	if s.DryRun {
		did = "would remove"
	}
	for _, id := range s.Removed {
		if _, err := fmt.Fprintln(w, did, id); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s %s of %s bytes; %s left\n", did, count(int64(len(s.Removed)), "generation"),
		humanize.Comma(s.Bytes), count(int64(len(s.Kept)), "generation"))
	return err
}

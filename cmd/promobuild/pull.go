package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

func pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "copy generations and the pin from object storage",
		ArgsUsage: "URL",
		Description: `Copy the newest N generations of URL, s3://BUCKET/PREFIX or a path, the pinned one
and the pin to --data, and remove older generations there. Files arrive in the
directory .incoming. When all files of a generation are there, and their checksums
and blocks are right, they get their names. An interrupted pull is continued by the
next one.

A generation that lacks objects is passed over for the next older one. So is a
damaged one, but then the command fails. It never empties --data.

Examples:
   promobuild pull --data /srv/promotions s3://bucket/promotions
   promobuild pull --data /srv/promotions --digits 0-7 s3://bucket/promotions`,
		Flags: append([]cli.Flag{
			dataFlag("copy to `DIR`"),
			digitsFlag(),
			&cli.IntFlag{Name: "keep", Value: 2, Usage: "copy and keep `N` servable generations"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		}, objectFlags()...),
		Action: pull,
	}
}

// pullSummary is the JSON object that pull prints.
type pullSummary struct {
	Generations []string            `json:"generations"` // wanted ones that are here
	New         []string            `json:"new"`         // those that arrived now
	PassedOver  []passedOverSummary `json:"passed_over"`
	Pinned      string              `json:"pinned"` // generation; empty: none
	Bytes       int64               `json:"bytes"`  // received
	Removed     []string            `json:"removed"`
}

type passedOverSummary struct {
	Generation string `json:"generation"`
	Error      string `json:"error"`
}

func pull(c *cli.Context) error {
	args, err := program.Args(c, 1, 1)
	if err != nil {
		return err
	}
	keep, err := keepFlag(c)
	if err != nil {
		return err
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	return transferAction(c, s.dir, args[0], func(ctx context.Context, from transfer.Location) (*pullSummary, error) {
		return s.pull(ctx, from, keep)
	}, printPulled)
}

// pull copies the newest keep generations and removes older ones. It removes them
// after damage in the store, too: only generations that are servable here count, the
// pin has arrived before, and the disk would fill otherwise.
func (s source) pull(ctx context.Context, from transfer.Location, keep int) (*pullSummary, error) {
	bar := newTransferBar(s.stderr)
	pulled, err := from.Pull(ctx, s.dir, transfer.PullOptions{
		Keep:     keep,
		Digits:   s.digits,
		Progress: bar.progress("pull"),
	})
	bar.end()
	summary := &pullSummary{
		Generations: texts(pulled.Wanted), New: texts(pulled.New), PassedOver: []passedOverSummary{},
		Bytes: pulled.Bytes, Removed: []string{},
	}
	for _, p := range pulled.PassedOver {
		summary.PassedOver = append(summary.PassedOver, passedOverSummary{p.ID.String(), p.Err.Error()})
		if errors.Is(p.Err, objects.ErrNotFound) || errors.Is(p.Err, generation.ErrIncomplete) {
			fmt.Fprintf(s.stderr, "skipped: %s\n", escape.Name(p.Err.Error()))
		}
	}
	if pulled.Pin.Active {
		summary.Pinned = pulled.Pin.ID.String()
	}
	if err != nil {
		err = fmt.Errorf("%s of %s arrived: %w", english.Count(len(pulled.New), "generation"), from, err)
	}
	if !pulled.Finished {
		return nil, err
	}
	removed, pruneErr := s.removeOld(ctx, keep, pulled.New)
	summary.Removed = removed
	return summary, errors.Join(err, pruneErr)
}

// removeOld removes all but the newest keep generations. Those of verified have been
// checked when they arrived.
func (s source) removeOld(ctx context.Context, keep int, verified []generation.ID) (removed []string, err error) {
	w, err := generation.OpenWriter(s.dir)
	if err != nil {
		return []string{}, err
	}
	defer w.Close()
	pruned, err := w.Prune(ctx, generation.PruneOptions{Keep: keep, Check: func(g generation.Generation) error {
		if slices.Contains(verified, g.ID) && len(g.MissingOf(s.digits)) == 0 {
			return nil
		}
		return s.check(ctx, g)
	}})
	return idsOf(pruned.Removed), err
}

func texts(ids []generation.ID) []string {
	list := []string{}
	for _, id := range ids {
		list = append(list, id.String())
	}
	return list
}

func printPulled(w io.Writer, s pullSummary) error {
	_, err := fmt.Fprintf(w, "%s here, %d new, %s bytes received; removed %s\n", english.Count(len(s.Generations), "generation"),
		len(s.New), humanize.Comma(s.Bytes), english.Count(len(s.Removed), "generation"))
	return err
}

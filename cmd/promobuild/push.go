package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/transfer"
)

func pushCommand() *cli.Command {
	return &cli.Command{
		Name:      "push",
		Usage:     "copy a generation and the pin to object storage",
		ArgsUsage: "DIR URL",
		Description: `Verify the live generation of DIR and copy it to URL, s3://BUCKET/PREFIX or a path.
Its manifest is written last and makes it visible to pull. The pin is copied first.
A generation that URL has already is not sent again: push after a rollback, too. An
interrupted push is continued by the next one.

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared
credentials file, or the metadata service of the instance.

Examples:
   promobuild push --keep 5 /srv/promotions s3://bucket/promotions
   promobuild updater --data /srv/promotions --hook-timeout 2h --after-publish 'promobuild push /srv/promotions s3://bucket/promotions'`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "generation", Usage: "copy the generation `ID`", DefaultText: "the live one"},
			&cli.IntFlag{Name: "keep", Usage: "delete generations from URL that are older than the newest `N`, except the pinned one and the one that was copied", DefaultText: "keep all"},
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		}, objectFlags()...),
		Action: push,
	}
}

// pushSummary is the JSON object that push prints.
type pushSummary struct {
	Generation string   `json:"generation"`
	URL        string   `json:"url"`
	New        bool     `json:"new"`     // it was not there before
	Files      int      `json:"files"`   // that were sent
	Bytes      int64    `json:"bytes"`   // of these files
	Pinned     string   `json:"pinned"`  // generation; empty: none
	Removed    []string `json:"removed"` // generations that --keep deleted, oldest first
}

func push(c *cli.Context) error {
	args, err := program.Args(c, 2, 2)
	if err != nil {
		return err
	}
	keep, err := keepFlag(c)
	if err != nil {
		return err
	}
	s := source{dir: args[0], digits: generation.AllDigits, stderr: c.App.ErrWriter}
	if err := checkDir(s.dir); err != nil {
		return err
	}
	return transferAction(c, s.dir, args[1], func(ctx context.Context, to transfer.Location) (*pushSummary, error) {
		return s.push(ctx, to, c.String("generation"), keep)
	}, printPushed)
}

// push copies the pin, and the generation with this ID or else the live one. It
// deletes old generations unless keep is 0.
func (s source) push(ctx context.Context, to transfer.Location, id string, keep int) (*pushSummary, error) {
	pin, err := to.PushPin(ctx, s.dir) // a rollback must not wait
	if err != nil {
		return nil, err
	}
	o, err := s.openVerified(ctx, id)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	bar := newTransferBar(s.stderr)
	pushed, err := to.Push(ctx, o.Set, bar.progress("push"))
	bar.end()
	if err != nil {
		return nil, err
	}
	summary := &pushSummary{
		Generation: o.ID().String(), URL: to.String(), New: pushed.New, Files: pushed.Files, Bytes: pushed.Bytes,
		Removed: []string{},
	}
	if pin.Active {
		summary.Pinned = pin.ID.String()
	}
	if keep > 0 {
		removed, err := to.Prune(ctx, keep, o.ID())
		for _, id := range removed {
			summary.Removed = append(summary.Removed, id.String())
		}
		if err != nil {
			return summary, fmt.Errorf("generation %s is there, but old ones cannot be deleted: %w", o.ID(), err)
		}
	}
	return summary, nil
}

// openVerified opens the generation with this ID, or the live one if id is empty,
// and verifies it.
func (s source) openVerified(ctx context.Context, id string) (opened, error) {
	if id == "" {
		return s.openLive(ctx, s.dir)
	}
	parsed, err := generation.ParseID(id)
	if err != nil {
		return opened{}, program.Usagef("--generation: %v; promobuild list shows the IDs", err)
	}
	g, err := s.find(parsed)
	if err != nil {
		return opened{}, err
	}
	o, err := s.openGeneration(g)
	if err != nil {
		return opened{}, err
	}
	if err := s.verify(ctx, o); err != nil {
		return opened{}, errors.Join(err, o.Close())
	}
	return o, nil
}

func printPushed(w io.Writer, s pushSummary) error {
	text := "is there already"
	if s.New || s.Files > 0 {
		text = fmt.Sprintf("copied, %s of %s bytes sent", english.Count(s.Files, "file"), humanize.Comma(s.Bytes))
	}
	if len(s.Removed) > 0 {
		text += fmt.Sprintf("; removed %s", english.Count(len(s.Removed), "older generation"))
	}
	_, err := fmt.Fprintf(w, "%s: generation %s %s\n", s.URL, s.Generation, text)
	return err
}

// keepFlag returns the value of --keep; 0 if it is not set.
func keepFlag(c *cli.Context) (int, error) {
	keep := c.Int("keep")
	if keep < 1 && c.IsSet("keep") {
		return 0, program.Usagef("--keep %d is less than 1", keep)
	}
	return keep, nil
}

// A transferBar shows the progress of transfers: a bar on a terminal, otherwise
// one line for each generation.
type transferBar struct {
	w   io.Writer
	bar *progressbar.ProgressBar // nil: none is drawn
}

func newTransferBar(w io.Writer) *transferBar { return &transferBar{w: w} }

func (b *transferBar) begin(what string, id generation.ID, total int64) {
	b.end()
	if isTerminal(b.w) {
		b.bar = newBar(b.w, max(1, total), what+" "+id.String(), true)
		return
	}
	fmt.Fprintf(b.w, "%s %s, %s\n", what, id, humanize.IBytes(uint64(total)))
}

// progress returns the functions that draw. what begins each line.
func (b *transferBar) progress(what string) transfer.Progress {
	return transfer.Progress{
		Begin: func(id generation.ID, total int64) { b.begin(what, id, total) },
		Update: func(done, _ int64) {
			if b.bar != nil {
				_ = b.bar.Set64(done)
			}
		},
	}
}

func (b *transferBar) end() {
	if b.bar != nil {
		_ = b.bar.Finish()
		b.bar = nil
	}
}

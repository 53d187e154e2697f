package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/format"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "check a generation: every checksum, the order, the fences, the dictionary",
		ArgsUsage: "FILE|DIR",
		Description: `Reads the whole file. Exits with 1 and says what is wrong, and where, if it is
not one that can be served. DIR stands for its newest
complete generation, servable or not.

Example:
   promobuild verify /srv/promotions`,
		Action: verify,
	}
}

func verify(c *cli.Context) (err error) {
	args, err := wantArgs(c, 1, 1)
	if err != nil {
		return err
	}
	path, err := newestComplete(args[0])
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	f, err := openFile(path)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer f.Close()
	var progress func(done, size int64)
	finish := func() error { return nil }
	if isTerminal(c.App.ErrWriter) {
		bar := newBar(c.App.ErrWriter, max(1, f.Header().Blocks()*format.BlockLen), "verify", true)
		progress = func(done, _ int64) { _ = bar.Set64(done) }
		finish = bar.Finish
	}
	err = f.Verify(c.Context, progress)
	_ = finish()
	if err != nil {
		return fmt.Errorf("verify: %s: %w", path, err)
	}
	h := f.Header()
	_, err = fmt.Fprintf(c.App.Writer, "%s: good: %s in %s of %d, %s\n", path,
		count(int64(h.Records), "record"), count(h.Blocks(), "block"), format.RecordsPerBlock, count(h.FileLen, "byte"))
	return err
}

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "verify a generation completely",
		ArgsUsage: "FILE|DIR",
		Description: `Read the whole file and check every checksum, the order of the records, the
fences and the dictionary. Exit with 1 and print the first defect and its offset
if the file is not servable. DIR selects its newest complete generation, servable
or not.

Example:
   promobuild verify /srv/promotions`,
		Action: program.Printing(verify),
	}
}

func verify(c *cli.Context) error {
	args, err := program.Args(c, 1, 1)
	if err != nil {
		return err
	}
	path, err := newestComplete(args[0])
	if err != nil {
		return err
	}
	f, err := openFile(path)
	if err != nil {
		return err
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
		return fmt.Errorf("%s: %w", path, err)
	}
	h := f.Header()
	_, err = fmt.Fprintf(c.App.Writer, "%s: good: %s in %s of %d, %s\n", path,
		count(int64(h.Records), "record"), count(h.Blocks(), "block"), format.RecordsPerBlock, count(h.FileLen, "byte"))
	return err
}

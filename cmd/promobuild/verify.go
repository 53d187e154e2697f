package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "verify a generation completely",
		ArgsUsage: "[FILE|DIR|ID]",
		Description: `Read the whole file and check every checksum, the order of the records, the
fences and the dictionary. Exit with 1 and print the first defect and its offset
if the file is not servable.

DIR means the generation that a server of DIR serves: the pinned one, or else the
newest servable one. If preferred generations are not servable, print their
defects and exit with 1; incomplete ones may still be arriving. ID is that of a
generation in --data.

Example:
   promobuild verify /srv/promotions`,
		Flags:  []cli.Flag{dataFlag("use the generations in `DIR`")},
		Action: program.Printing(verify),
	}
}

func verify(c *cli.Context) error {
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	arg, err := s.argument(c)
	if err != nil {
		return err
	}
	if isDir(arg) {
		return verifyDir(c, s, arg)
	}
	f, err := s.open(c.Context, arg)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := s.verify(c.Context, f); err != nil {
		return err
	}
	return printGood(c, f)
}

// verifyDir verifies the generation that a server of dir serves, and those that
// it would prefer.
func verifyDir(c *cli.Context, s source, dir string) error {
	var bad []error
	g, err := s.live(c.Context, dir, func(_ generation.Generation, err error) {
		if !errors.Is(err, generation.ErrIncomplete) {
			bad = append(bad, err)
		}
	})
	switch {
	case errors.Is(err, generation.ErrNoneServable) && len(bad) > 0:
		return errors.Join(bad...)
	case err != nil:
		return err
	}
	f, err := openGeneration(g)
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(append([]error{printGood(c, f)}, bad...)...)
}

func printGood(c *cli.Context, f opened) error {
	h := f.Header()
	_, err := fmt.Fprintf(c.App.Writer, "%s: good: %s in %s of %d, %s\n", escape.Name(f.path),
		count(int64(h.Records), "record"), count(h.Blocks(), "block"), format.RecordsPerBlock, count(h.FileLen, "byte"))
	return err
}

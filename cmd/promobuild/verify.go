package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/escape"
)

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "verify a generation completely",
		ArgsUsage: "[FILE|DIR|ID]",
		Description: `Read all files of the generation and check every checksum, the order of the
records, the fences and the dictionary. Check that its shards belong together and
none is missing. Exit with 1 and print the first defect of each bad file, and its
offset, if the generation is not servable.

DIR means the generation that a server of DIR serves: the pinned one, or else the
newest servable one. If preferred generations are not servable, print their
defects and exit with 1; incomplete ones may still be arriving. ID is that of a
generation in --data. FILE is one file; of a generation with several shards, verify
only this shard.

Example:
   promobuild verify /srv/promotions`,
		Flags:  []cli.Flag{dataFlag("use the generations in `DIR`"), digitsFlag()},
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
	o, err := s.open(c.Context, arg)
	if err != nil {
		if id, idErr := generation.ParseID(arg); idErr == nil {
			if g, findErr := s.find(id); findErr == nil {
				err = s.allDefects(c.Context, g, err)
			}
		}
		return err
	}
	defer o.Close()
	if err := s.verify(c.Context, o); err != nil {
		return err
	}
	return printGood(c, o)
}

// allDefects returns err, why g is not servable, with the defects of other files. A
// file whose index is bad prevents the verification of the others.
func (s source) allDefects(ctx context.Context, g generation.Generation, err error) error {
	var bad *generation.FileError
	if !errors.As(err, &bad) {
		return err
	}
	if o, err2 := s.openGeneration(g); err2 == nil {
		o.Close()
		return err // has the defects of all files
	}
	errs := []error{err}
	for _, path := range g.Files {
		if path == bad.Path {
			continue
		}
		set, err := generation.OpenFile(path)
		if err == nil {
			err = s.verify(ctx, opened{Set: set, path: path})
			set.Close()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// verifyDir verifies the generation that a server of dir serves, and those that
// it would prefer.
func verifyDir(c *cli.Context, s source, dir string) error {
	var bad []error
	g, err := s.live(c.Context, dir, func(g generation.Generation, err error) {
		if !errors.Is(err, generation.ErrIncomplete) {
			bad = append(bad, s.allDefects(c.Context, g, err))
		}
	})
	switch {
	case errors.Is(err, generation.ErrNoneServable) && len(bad) > 0:
		return errors.Join(bad...)
	case err != nil:
		return err
	}
	o, err := s.openGeneration(g)
	if err != nil {
		return err
	}
	defer o.Close()
	return errors.Join(append([]error{printGood(c, o)}, bad...)...)
}

func printGood(c *cli.Context, o opened) error {
	files := ""
	if n := len(o.Open()); n > 1 {
		files = english.Count(n, "file") + ", "
	}
	part := o.partText()
	if part != "" {
		part = "; " + part
	}
	_, err := fmt.Fprintf(c.App.Writer, "%s: good: %s in %s%s of %d, %s%s\n", escape.Name(o.path), english.Count(o.Header.Records, "record"),
		files, english.Count(o.blocks(), "block"), format.RecordsPerBlock, english.Count(o.Header.FileLen, "byte"), part)
	return err
}

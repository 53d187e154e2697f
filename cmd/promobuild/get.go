package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/reader"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print promotions as JSON",
		ArgsUsage: "FILE|DIR ID...",
		Description: `Print one line of JSON for each ID, in the order of the arguments, as the server
answers it. Check the blocks that are read. Exit with 1 if an ID is missing. DIR
selects its newest generation with a good index.

Example:
   promobuild get data 172FFC14-D229-4C93-B06B-F48B8C095512`,
		Action: program.Printing(get),
	}
}

var errMissing = errors.New("not found")

func get(c *cli.Context) error {
	args, err := program.Args(c, 2, math.MaxInt)
	if err != nil {
		return err
	}
	f, path, err := open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	out := bufio.NewWriter(c.App.Writer)
	var missing []error
	var line []byte
	for _, id := range args[1:] {
		key, ok := reader.ParseID([]byte(id))
		if !ok {
			missing = append(missing, fmt.Errorf("%q: %w: not an id", id, errMissing))
			continue
		}
		// The block is checked even for an id that is missing: a damaged block does
		// not prove absence.
		err := f.VerifyKey(key)
		var r format.Record
		var found bool
		if err == nil {
			r, found, err = f.Get(key)
		}
		if err != nil {
			return errors.Join(out.Flush(), fmt.Errorf("%s: %w", path, err))
		}
		if !found {
			missing = append(missing, fmt.Errorf("%s: %w", id, errMissing))
			continue
		}
		line = append(format.DefaultJSONOptions.AppendJSON(line[:0], &r, f.Styles()), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return errors.Join(append([]error{out.Flush()}, missing...)...)
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"

	"github.com/urfave/cli/v2"

	"promostore/format"
	"promostore/reader"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print promotions as the server would answer them",
		ArgsUsage: "FILE|DIR ID...",
		Description: `One line of JSON for each ID, in their order, if what the file has there is
undamaged. Exits with 1 if one is missing.
DIR stands for its newest servable generation.

Example:
   promobuild get data 172FFC14-D229-4C93-B06B-F48B8C095512`,
		Action: get,
	}
}

var errMissing = errors.New("not found")

func get(c *cli.Context) error {
	args, err := wantArgs(c, 2, math.MaxInt)
	if err != nil {
		return err
	}
	f, path, err := open(args[0])
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	defer f.Close()
	out := bufio.NewWriter(c.App.Writer)
	var missing []error
	var line []byte
	for _, id := range args[1:] {
		key, ok := reader.ParseID([]byte(id))
		if !ok {
			missing = append(missing, fmt.Errorf("get: %q is no id, so it is %w", id, errMissing))
			continue
		}
		// What is not there must be as certain as what is.
		err := f.VerifyKey(key)
		var r format.Record
		var found bool
		if err == nil {
			r, found, err = f.Get(key)
		}
		if err != nil {
			return errors.Join(out.Flush(), fmt.Errorf("get: %s: %w", path, err))
		}
		if !found {
			missing = append(missing, fmt.Errorf("get: %s: %w", id, errMissing))
			continue
		}
		line = append(format.DefaultJSONOptions.AppendJSON(line[:0], &r, f.Styles()), '\n')
		if _, err := out.Write(line); err != nil {
			return err
		}
	}
	return errors.Join(append([]error{out.Flush()}, missing...)...)
}

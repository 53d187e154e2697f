package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/reader"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print promotions as JSON",
		ArgsUsage: "[FILE|DIR] ID...",
		Description: `Print one line of JSON for each ID, in the order of the arguments, as the server
answers it. Exit with 1 if an ID is missing. Standard error names the generation.

DIR, or --data without it, means the generation that a server of DIR serves: the
pinned one, or else the newest servable one. --verify index finds it at once, and
only the blocks that are read are checked.

Examples:
   promobuild get --data /srv/promotions 172FFC14-D229-4C93-B06B-F48B8C095512
   promobuild get --generation 20261122T103000123Z 172FFC14-D229-4C93-B06B-F48B8C095512`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.StringFlag{Name: "generation", Usage: "read the generation `ID` of --data", DefaultText: "the one that is served"},
			verifyFlag(),
		},
		Action: program.Printing(get),
	}
}

var errMissing = errors.New("not found")

func get(c *cli.Context) error {
	args, err := program.Args(c, 1, math.MaxInt)
	if err != nil {
		return err
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	where := s.dir
	if text := c.String("generation"); text != "" {
		if _, err := generation.ParseID(text); err != nil {
			return program.Usagef("--generation: %v", err)
		}
		where = text
	} else if _, ok := reader.ParseID([]byte(args[0])); !ok {
		where, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return program.Usagef("missing argument: ID")
	}
	f, err := s.open(c.Context, where)
	if err != nil {
		return err
	}
	defer f.Close()
	s.announce(f)
	out := bufio.NewWriter(c.App.Writer)
	var missing []error
	var line []byte
	for _, id := range args {
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
			return errors.Join(out.Flush(), fmt.Errorf("%s: %w", f.path, err))
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

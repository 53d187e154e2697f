package main

import (
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
)

func dumpCommand() *cli.Command {
	return &cli.Command{
		Name:      "dump",
		Usage:     "print a generation as CSV, in the order of the IDs",
		ArgsUsage: "[FILE|DIR|ID]",
		Description: `Print prices and dates as they were written. Print IDs in upper case if all their
letters were, else in lower case. There is no header row. Standard error names
the generation. Its shards are merged, so that the dump does not depend on their
number.

` + argumentHelp + `

Example:
   promobuild dump data | gzip > promotions.csv.gz`,
		Flags:  sourceFlags(),
		Action: program.Printing(dump),
	}
}

// dumpLen is the approximate size of one write, in bytes.
const dumpLen = 256 << 10

func dump(c *cli.Context) error {
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	arg, err := s.argument(c)
	if err != nil {
		return err
	}
	o, err := s.open(c.Context, arg)
	if err != nil {
		return err
	}
	defer o.Close()
	s.announce(o)
	styles := o.Styles()
	buf := make([]byte, 0, dumpLen+4096)
	err = o.Scan(c.Context, func(records []format.Record) error {
		for i := range records {
			buf = append(records[i].AppendCSV(buf, styles, ','), '\n')
			if len(buf) >= dumpLen {
				if _, err := c.App.Writer.Write(buf); err != nil {
					return err
				}
				buf = buf[:0]
			}
		}
		return nil
	})
	if err == nil {
		_, err = c.App.Writer.Write(buf)
	}
	return err
}

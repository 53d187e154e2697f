package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/format"
)

func dumpCommand() *cli.Command {
	return &cli.Command{
		Name:      "dump",
		Usage:     "print the CSV that a generation was made of, in the order of the ids",
		ArgsUsage: "FILE|DIR",
		Description: `Prices and dates come back as they were written; ids in lower case, or in upper
case if they were all upper case. There is no header row. DIR stands for its
newest servable generation.

Example:
   promobuild dump data | gzip > promotions.csv.gz`,
		Action: dump,
	}
}

// dumpLen is how many bytes dump writes at once, about.
const dumpLen = 256 << 10

func dump(c *cli.Context) error {
	args, err := wantArgs(c, 1, 1)
	if err != nil {
		return err
	}
	f, path, err := open(args[0])
	if err != nil {
		return fmt.Errorf("dump: %w", err)
	}
	defer f.Close()
	styles := f.Styles()
	buf := make([]byte, 0, dumpLen+4096)
	err = f.Scan(c.Context, func(records []format.Record) error {
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
	if err != nil {
		return fmt.Errorf("dump: %s: %w", path, err)
	}
	return nil
}

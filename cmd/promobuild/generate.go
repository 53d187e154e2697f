package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/internal/synth"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "print a synthetic CSV in the layout of the real one",
		Description: `Print the same rows for the same flags. --rows includes the duplicates. Each
duplicate repeats an earlier ID with another price and another date.

Examples:
   promobuild generate --rows 1000000 --seed 1 > promotions.csv
   promobuild generate --rows 1000000000 | promobuild build -`,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "rows", DefaultText: "none", Usage: "print `N` rows, at least 1; required"},
			&cli.Uint64Flag{Name: "seed", Usage: "seed the random rows with `N`"},
			&cli.StringFlag{Name: "keys", Value: synth.KeysV4.String(), Usage: "kind of the IDs: `v4|v7|v1|sequential|same-prefix`"},
			&cli.Int64Flag{Name: "duplicates", Usage: "repeat an ID in `N` of the rows"},
		},
		Action: program.Printing(generate),
	}
}

func generate(c *cli.Context) error {
	if rows := c.Args().First(); c.NArg() == 1 && !c.IsSet("rows") && strings.Trim(rows, "0123456789") == "" {
		return program.Usagef("unexpected argument %q; did you mean %q?", rows, "--rows "+rows)
	}
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	if c.Int64("rows") == 0 {
		return program.Usagef("--rows N is required, at least 1")
	}
	kind, err := synth.ParseKind(c.String("keys"))
	if err != nil {
		return program.Usagef("--keys: %v", err)
	}
	rows := synth.DataSet{
		Keys:       synth.Keys{Kind: kind, Seed: c.Uint64("seed")},
		Rows:       c.Int64("rows"),
		Duplicates: c.Int64("duplicates"),
	}
	if err := rows.Check(); err != nil {
		return program.Usagef("%v", err)
	}
	_, err = rows.WriteTo(c.App.Writer)
	return err
}

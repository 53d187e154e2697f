package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"promostore/internal/synth"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:      "generate",
		Usage:     "print a synthetic CSV in the layout of the real one",
		ArgsUsage: " ",
		Description: `The rows are the same for the same flags. --rows counts the duplicates too; each
repeats an earlier id with another price and another date.

Example:
   promobuild generate --rows 1000000 --seed 1 > promotions.csv
   promobuild generate --rows 1000000000 | promobuild build -`,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "rows", DefaultText: "none", Usage: "`N` rows, at least 1; required"},
			&cli.Uint64Flag{Name: "seed", Usage: "`S`, for other rows"},
			&cli.StringFlag{Name: "keys", Value: synth.KeysV4.String(), Usage: "give out ids as `v4|v7|sequential|same-prefix`"},
			&cli.Int64Flag{Name: "duplicates", Usage: "`N` of the rows repeat an id"},
		},
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	if _, err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	if c.Int64("rows") == 0 {
		return usagef("generate: --rows N is required: how many rows, at least 1")
	}
	kind, err := synth.ParseKind(c.String("keys"))
	if err != nil {
		return usagef("generate: --keys: %v", err)
	}
	table := synth.Table{
		Keys:       synth.Keys{Kind: kind, Seed: c.Uint64("seed")},
		Rows:       c.Int64("rows"),
		Duplicates: c.Int64("duplicates"),
	}
	if err := table.Check(); err != nil {
		return usagef("generate: %v", err)
	}
	if _, err := table.WriteTo(c.App.Writer); err != nil {
		return fmt.Errorf("generate: %w", err)
	}
	return nil
}

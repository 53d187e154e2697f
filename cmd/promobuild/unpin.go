package main

import (
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
)

func unpinCommand() *cli.Command {
	return &cli.Command{
		Name:  "unpin",
		Usage: "make servers serve the newest servable generation again",
		Description: `Keep the file promotions.pin and record in it the author and the reason, so that
rsync copies the change to other nodes.

Example:
   promobuild unpin --data /srv/promotions --reason "corrected"`,
		Flags:  pinFlags(),
		Action: unpin,
	}
}

func unpin(c *cli.Context) error {
	if _, err := program.Args(c, 0, 0); err != nil {
		return err
	}
	dir, err := dataDir(c)
	if err != nil {
		return err
	}
	p, err := pinChange(c).Unpin(dir)
	if err != nil {
		return err
	}
	return printPin(c, dir, p)
}

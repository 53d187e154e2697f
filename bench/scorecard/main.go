// Command scorecard measures promostore against what people would use instead
// and against the limits of the machine, prints a table, and writes it as JSON
// and as a page with plots.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/bench/contest"
	"promostore/bench/machine"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &cli.App{
		Name:  "scorecard",
		Usage: "measure promostore against its peers and the machine",
		Description: `The size is that of --rows, or what is thought to fit into --seconds. Run it as root,
with nothing else on the machine, for all there is; what cannot be measured says why.
A chapter that fails keeps what was measured of it, and the next one follows.

Example:
   scorecard --seconds 900
   scorecard --rows 20000000 --areas build,lookup --dir /var/tmp --out /tmp/results`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "rows", Usage: "measure with tables of `N` rows"},
			&cli.Float64Flag{Name: "seconds", Value: 900, Usage: "choose the rows so that it takes about `S` seconds"},
			&cli.StringFlag{Name: "areas", Value: names(chapters), Usage: "measure `LIST` only"},
			&cli.StringFlag{Name: "dir", Usage: "put files into `DIR`, on the disk to be measured (default: that for temporary files)"},
			&cli.StringFlag{Name: "out", Value: "results", Usage: "write JSON, page and plots to `DIR`"},
		},
		Action: action,
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "scorecard:", err)
		os.Exit(1)
	}
}

func action(c *cli.Context) error {
	if c.NArg() > 0 {
		return fmt.Errorf("arguments %q are not expected", c.Args().Slice())
	}
	chosen, err := choose(c.String("areas"))
	if err != nil {
		return err
	}
	rows := c.Int64("rows")
	switch {
	case rows < 0 || c.IsSet("rows") && rows == 0:
		return fmt.Errorf("--rows %d: at least 1 is needed", rows)
	case rows == 0:
		if rows, err = fit(chosen, c.Float64("seconds")); err != nil {
			return err
		}
	}
	dir := c.String("dir")
	if dir == "" {
		dir = os.TempDir()
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := checkDir(dir, disk(chosen, rows)); err != nil {
		return err
	}
	env, err := contest.NewEnv(c.Context, dir, rows, os.Stderr)
	if err != nil {
		return err
	}
	r := run{env: env, out: c.String("out"), dirSet: c.IsSet("dir"), large: os.Getenv("PROMO_BENCH_LARGE"), table: os.Stdout}
	if r.machine, err = machine.Describe(c.Context, env.Dir); err == nil {
		err = r.measure(c.Context, chosen)
	}
	return errors.Join(err, env.Close())
}

// checkDir returns an error, which says what to do, if dir is not on a disk or
// has no room for so many bytes.
func checkDir(dir string, bytes int64) error {
	if err := machine.OnDisk(dir); err != nil {
		return fmt.Errorf("%w; name a directory on the disk to be measured, as in DIR=/var/tmp", err)
	}
	free, err := machine.Free(dir)
	if err != nil {
		return err
	}
	if free < bytes {
		return fmt.Errorf("about %s are needed in %s, which has room for %s: choose less by ROWS= or AREAS=, or another disk by DIR=",
			humanize.IBytes(uint64(bytes)), dir, humanize.IBytes(uint64(free)))
	}
	return nil
}

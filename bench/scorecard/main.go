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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/bench/building"
	"promostore/bench/contest"
	"promostore/bench/limits"
	"promostore/bench/lookups"
	"promostore/bench/machine"
	"promostore/bench/report"
	"promostore/bench/scale"
	"promostore/bench/serving"
)

// A chapter is what an area is called in the report, and what it costs.
type chapter struct {
	name    string
	run     contest.Area
	fixed   float64 // seconds that it takes at any size
	perMega float64 // seconds more for each million rows
}

// The costs were measured on 2 cores.
var chapters = []chapter{
	{"build", building.Run, 30, 22},
	{"lookup", lookups.Run, 60, 18},
	{"http", serving.Run, 150, 5},
	{"limits", limits.Run, 90, 2},
	{"scale", scale.Run, 60, 1},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := &cli.App{
		Name:  "scorecard",
		Usage: "measure promostore against its peers and the machine",
		Description: `The size is that of --rows, or what is thought to fit into --seconds. Run it as root,
with nothing else on the machine, for all there is; what cannot be measured says why.

Example:
   scorecard --seconds 900
   scorecard --rows 20000000 --areas build,lookup --out /tmp/results`,
		HideHelpCommand: true,
		Flags: []cli.Flag{
			&cli.Int64Flag{Name: "rows", Usage: "measure with tables of `N` rows"},
			&cli.Float64Flag{Name: "seconds", Value: 900, Usage: "choose the rows so that it takes about `S` seconds"},
			&cli.StringFlag{Name: "areas", Value: names(), Usage: "measure `LIST` only"},
			&cli.StringFlag{Name: "dir", Usage: "put files, of some 1,300 bytes a row, into `DIR`, on the disk to be measured (default: that for temporary files)"},
			&cli.StringFlag{Name: "out", Value: "results", Usage: "write JSON, page and plots to `DIR`"},
		},
		Action: action,
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "scorecard:", err)
		os.Exit(1)
	}
}

func names() string {
	var list []string
	for _, c := range chapters {
		list = append(list, c.name)
	}
	return strings.Join(list, ",")
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
		rows = fit(chosen, c.Float64("seconds"))
	}
	env, err := contest.NewEnv(c.Context, c.String("dir"), rows, os.Stderr)
	if err != nil {
		return err
	}
	err = measure(c.Context, env, chosen, c.String("out"))
	return errors.Join(err, env.Close())
}

// choose is the chapters of a list of their names, in their order.
func choose(list string) ([]chapter, error) {
	wanted := strings.Split(list, ",")
	var chosen []chapter
	for _, c := range chapters {
		if i := slices.Index(wanted, c.name); i >= 0 {
			chosen = append(chosen, c)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no area %q; there are %s", wanted[0], names())
	}
	return chosen, nil
}

// fit is the rows, 1, 2 or 5 times a power of ten, that should take about so
// many seconds.
func fit(chosen []chapter, seconds float64) int64 {
	var fixed, perMega float64
	for _, c := range chosen {
		fixed, perMega = fixed+c.fixed, perMega+c.perMega
	}
	most := max(seconds-fixed, 0) / perMega * 1e6
	rows := int64(10_000)
	for step := 0; ; step++ {
		next := rows * 2
		if step%3 == 1 {
			next = rows / 2 * 5
		}
		if float64(next) > most {
			return rows
		}
		rows = next
	}
}

func measure(ctx context.Context, env *contest.Env, chosen []chapter, out string) error {
	m, err := machine.Describe(ctx, env.Dir)
	if err != nil {
		return err
	}
	var all []contest.Result
	for _, c := range chosen {
		env.Logf("== %s, %d rows", c.name, env.Rows)
		page := report.Chapter{
			Name:    c.name,
			Command: fmt.Sprintf("make scorecard AREAS=%s ROWS=%d", c.name, env.Rows),
			Rows:    env.Rows,
			Started: time.Now(),
			Machine: m,
		}
		err := c.run(ctx, env, func(r contest.Result) {
			page.Results = append(page.Results, r)
			if err := report.WriteTable(os.Stderr, []contest.Result{r}); err != nil {
				env.Logf("%v", err)
			}
		})
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		page.Seconds = time.Since(page.Started).Seconds()
		if err := report.Write(out, &page); err != nil {
			return err
		}
		all = append(all, page.Results...)
	}
	return report.WriteTable(os.Stdout, all)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/bench/contest"
	"promostore/bench/machine"
	"promostore/bench/report"
)

// A run measures chapters, one after the other.
type run struct {
	env     *contest.Env
	machine machine.Machine
	out     string    // directory of the results
	dirSet  bool      // the directory of env was chosen
	large   string    // PROMO_BENCH_LARGE
	table   io.Writer // of all results, at the end
}

// measure writes what each chapter came to, also of one that fails, and goes
// on with the next. It stops when ctx ends.
func (r *run) measure(ctx context.Context, chosen []chapter) error {
	r.env.Logf("%s rows; %s should take about %v in all, more where a bar is open", humanize.Comma(r.env.Rows), names(chosen), total(chosen, r.env.Rows).Round(time.Second))
	var all []contest.Result
	var errs []error
	for i := range chosen {
		results, err := r.chapter(ctx, &chosen[i])
		all = append(all, results...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", chosen[i].name, err))
			r.env.Logf("%v", errs[len(errs)-1])
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(errs, report.WriteTable(r.table, all))...)
}

func (r *run) chapter(ctx context.Context, c *chapter) ([]contest.Result, error) {
	r.env.Logf("== %s, about %v", c.name, c.takes(r.env.Rows).Round(time.Second))
	page := report.Chapter{Name: c.name, Command: r.command(c), Rows: r.env.Rows, Started: time.Now(), Machine: r.machine}
	err := c.run(ctx, r.env, func(result contest.Result) {
		result.Note = r.withoutPaths(result.Note)
		page.Results = append(page.Results, result)
		if err := report.WriteTable(r.env.Log, []contest.Result{result}); err != nil {
			r.env.Logf("%v", err)
		}
	})
	took := time.Since(page.Started)
	page.Seconds = took.Seconds()
	r.env.Logf("== %s took %v", c.name, took.Round(time.Second))
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
		page.Ended = "it was interrupted"
	case err != nil:
		page.Ended = r.withoutPaths(err.Error())
	}
	if len(page.Results) == 0 {
		return nil, err // what is there of it stays
	}
	return page.Results, errors.Join(err, report.Write(r.out, &page))
}

// command measures the chapter again, with the paths left to the reader.
func (r *run) command(c *chapter) string {
	command := fmt.Sprintf("make scorecard AREAS=%s ROWS=%d", c.name, r.env.Rows)
	if c.large && r.large != "" {
		command = "PROMO_BENCH_LARGE=… " + command
	}
	if r.dirSet {
		command += " DIR=…"
	}
	return command
}

// withoutPaths is text in one line without the names of directories here.
func (r *run) withoutPaths(text string) string {
	text = strings.ReplaceAll(text, r.env.Dir, "…")
	if r.large != "" {
		text = strings.ReplaceAll(text, r.large, "…")
	}
	return strings.Join(strings.Fields(text), " ")
}

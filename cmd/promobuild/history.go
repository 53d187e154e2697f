package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/history"
	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/reader"
)

func historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "show the promotion that each generation has for an ID",
		ArgsUsage: "ID...",
		Description: `Show the price and the expiration date that each generation of --data has for an
ID, newest first, as the row wrote them. Mark the live and the pinned generation,
promotions that differ from those of the next older generation that has the ID, and
those that have expired. Read one block of each generation. Exit with 1 if no
generation has an ID.

Examples:
   promobuild history --data /srv/promotions 172FFC14-D229-4C93-B06B-F48B8C095512
   promobuild history --json 172FFC14-D229-4C93-B06B-F48B8C095512`,
		Flags: []cli.Flag{
			dataFlag("use the generations in `DIR`"),
			digitsFlag(),
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object for each ID, as servers answer it"},
		},
		Action: program.Printing(showHistory),
	}
}

func showHistory(c *cli.Context) error {
	args, err := program.Args(c, 1, math.MaxInt)
	if err != nil {
		return err
	}
	keys := make([]format.Key, len(args))
	for i, arg := range args {
		var ok bool
		if keys[i], ok = reader.ParseID([]byte(arg)); !ok {
			return program.Usagef("%q is not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512", arg)
		}
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	if err := checkDir(s.dir); err != nil {
		return err
	}
	s.indexOnly = true
	d, err := s.directory(c.Context)
	if err != nil {
		return err
	}
	view := history.View{JSON: format.DefaultJSONOptions, Details: true, Now: time.Now()}
	missing := &getter{}
	for i, key := range keys {
		entries, omitted, err := d.Lookup(c.Context, key)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			_, err = c.App.Writer.Write(view.Lookup(key, entries, omitted))
		} else {
			err = printHistory(c.App.Writer, i > 0, history.IDText(key, entries), entries, omitted, view.Now)
		}
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(entries, func(e history.Entry) bool { return e.Found }) {
			missing.miss(fmt.Errorf("%s: not found in %s", args[i], english.Count(len(entries), "generation")))
		}
	}
	return missing.missing()
}

// directory returns the directory of s with its live generation and its pin.
func (s source) directory(ctx context.Context) (history.Directory, error) {
	d := history.Directory{Path: s.dir, Digits: s.digits}
	d.Status.Pin, _ = generation.ReadPin(s.dir) // live prints the error
	g, err := s.live(ctx, s.dir, nil)
	if errors.Is(err, generation.ErrNoneServable) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	o, err := s.openGeneration(g)
	if err != nil {
		return d, err
	}
	d.Status.Live = &o.Header
	return d, o.Close()
}

// printHistory prints the entries of an id as a table.
func printHistory(w io.Writer, more bool, id string, entries []history.Entry, omitted int, now time.Time) error {
	if more {
		fmt.Fprintln(w)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\n", id)
	fmt.Fprintln(t, "GENERATION\tPRICE\tEXPIRATION DATE\tSTATE")
	for i := range entries {
		e := &entries[i]
		price, date := "-", "-"
		if text := rowText(e); text != "" {
			fields := strings.SplitN(text, ",", 3) // id, price, date
			price, date = fields[1], fields[2]
		}
		states := cmp.Or(strings.Join(statesOf(e, entries[i+1:], now), ", "), "-")
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.ID, price, date, states)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if omitted > 0 {
		_, err := fmt.Fprintf(w, "and %s\n", english.Count(omitted, "older generation"))
		return err
	}
	return nil
}

// rowText returns the row of an entry; empty: not found.
func rowText(e *history.Entry) string {
	if !e.Found {
		return ""
	}
	return string(e.Record.AppendCSV(nil, e.Styles, ','))
}

// statesOf returns the states of e. older are the entries of older generations.
func statesOf(e *history.Entry, older []history.Entry, now time.Time) (states []string) {
	for _, state := range []struct {
		is   bool
		name string
	}{{e.Live, "live"}, {e.Pinned, "pinned"}} {
		if state.is {
			states = append(states, state.name)
		}
	}
	switch {
	case e.Err != nil:
		return append(states, escape.Name(e.Err.Error()))
	case !e.Found:
		return append(states, "not found")
	}
	for i := range older {
		if older[i].Found {
			if rowText(e) != rowText(&older[i]) {
				states = append(states, "changed")
			}
			break
		}
	}
	if expired, _ := e.Expired(now); expired {
		states = append(states, "expired")
	}
	return states
}

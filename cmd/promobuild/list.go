package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/internal/fsx"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the generations of a directory, oldest first",
		ArgsUsage: "[DIR]",
		Description: `Show the live generation, which a server of DIR serves: the pinned one, or else the
newest servable one. Show the author and the reason of the pin, and why others
are not servable. Read the blocks only of the live generation and of those that are
preferred to it. The state "index good" means that all but the blocks was read.
A generation is complete if all of its shards are there, or those that --digits
selects; for others, show which are missing. Exit with 0 unless DIR or its pin
cannot be read.

Times are in UTC.

Example:
   promobuild list /srv/promotions`,
		Flags: []cli.Flag{
			dataFlag("list the generations in `DIR`"),
			digitsFlag(),
			verifyFlag(),
			&cli.BoolFlag{Name: "json", Usage: "print a JSON array"},
		},
		Action: program.Printing(list),
	}
}

// listed is a line of list.
type listed struct {
	Generation string    `json:"generation"`
	Created    time.Time `json:"created"`
	Live       bool      `json:"live"`   // a server of the directory serves it
	Newest     bool      `json:"newest"` // the newest servable generation
	Complete   bool      `json:"complete"`
	Shards     int       `json:"shards"`
	Missing    []int     `json:"missing_shards,omitempty"` // of those that it needs
	Files      []string  `json:"files"`
	Records    uint64    `json:"records"`
	Bytes      int64     `json:"bytes"`
	Error      string    `json:"error,omitempty"`  // why it is not servable
	Future     bool      `json:"future,omitempty"` // too far ahead of the clock to be preferred
	Ahead      float64   `json:"ahead,omitempty"`  // seconds ahead of the clock

	Pin *generation.Pin `json:"pin,omitempty"` // nil unless it is pinned

	ahead    string // Ahead for people
	readable bool   // Records is known
}

func list(c *cli.Context) error {
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	if s.dir, err = s.argument(c); err != nil {
		return err
	}
	if err := checkDir(s.dir); err != nil {
		return err
	}
	lines, err := s.list(c.Context)
	if err != nil {
		return err
	}
	pin, pinErr := generation.ReadPin(s.dir)
	if pinErr != nil {
		pinErr = fmt.Errorf("%w\nReplace the pin: promobuild pin, or promobuild unpin", pinErr)
	}
	lines = markPinned(lines, pin)
	if c.Bool("json") {
		return errors.Join(program.PrintJSON(c.App.Writer, lines), pinErr)
	}
	return errors.Join(printList(c.App.Writer, lines), pinErr)
}

// list returns the lines of the generations of s.dir, sorted by ID.
func (s source) list(ctx context.Context) ([]listed, error) {
	generations, err := generation.List(s.dir)
	if err != nil {
		return nil, err
	}
	bad := map[string]error{} // by the path of the first file
	live, err := generation.Live(ctx, s.dir, func(g generation.Generation) error {
		err := s.check(ctx, g)
		bad[g.Files[0]] = err
		return err
	})
	if err != nil && !errors.Is(err, generation.ErrNoneServable) && !fsx.IsTooManyOpen(err) {
		return nil, err
	}
	lines := []listed{}
	newest := -1
	for i, g := range generations {
		lines = append(lines, s.lineOf(g, bad[g.Files[0]]))
		lines[i].Live = err == nil && g.ID == live.ID && g.Shards == live.Shards
		if lines[i].Error == "" {
			newest = i
		}
	}
	if newest >= 0 {
		lines[newest].Newest = true
	}
	slices.SortStableFunc(lines, func(a, b listed) int { return cmp.Compare(a.Generation, b.Generation) })
	return lines, nil
}

// markPinned adds the pin, unless the live generation has released it, to the line
// of its generation. A generation that is missing gets a line of its own.
func markPinned(lines []listed, pin generation.Pin) []listed {
	now := time.Now()
	released := slices.ContainsFunc(lines, func(l listed) bool { return l.Live && pin.ReleasedBy(generation.IDOf(l.Created), now) })
	if !pin.Active || released {
		return lines
	}
	// The lines are sorted by ID, which is the order of their texts too. Several have
	// the same ID if they have different numbers of shards.
	i, found := slices.BinarySearchFunc(lines, pin.ID.String(), func(l listed, id string) int { return cmp.Compare(l.Generation, id) })
	if !found {
		lines = slices.Insert(lines, i, listed{Generation: pin.ID.String(), Created: pin.ID.Time(), Files: []string{}, Error: "missing"})
	}
	for ; i < len(lines) && lines[i].Generation == pin.ID.String(); i++ {
		lines[i].Pin = &pin
	}
	return lines
}

// lineOf returns the line of a generation. It reads the index to check whether
// the generation is servable. bad, which may be nil, is a known defect.
func (s source) lineOf(g generation.Generation, bad error) listed {
	now := time.Now()
	missing := g.MissingOf(s.digits)
	l := listed{
		Generation: g.ID.String(), Created: g.ID.Time(), Complete: len(missing) == 0, Shards: g.Shards, Missing: missing, Files: g.Files,
		Future: g.ID.IsFuture(now), Ahead: g.ID.Ahead(now).Seconds(), ahead: aheadText(g.ID, now),
	}
	o, err := s.openGeneration(g)
	if err == nil {
		l.Records, l.readable = o.Header.Records, true
		err = errors.Join(o.Close(), bad)
	}
	switch {
	case errors.Is(err, generation.ErrIncomplete):
		l.Error = fmt.Sprintf("incomplete: missing %d of %s: %s", len(missing), english.Count(g.Shards, "shard"), generation.ShardRanges(missing))
		if digits := completeDigits(g); digits != 0 {
			l.Error += "; complete for --digits " + digits.String()
		}
	case err != nil:
		l.Error = "bad: " + err.Error()
	}
	for _, path := range g.Files {
		if st, err := os.Stat(path); err == nil {
			l.Bytes += st.Size()
		}
	}
	return l
}

func printList(w io.Writer, lines []listed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GENERATION\tCREATED (UTC)\tSHARDS\tRECORDS\tBYTES\tSTATE")
	for _, l := range lines {
		state := escape.Name(l.Error)
		switch {
		case l.Live && l.Newest:
			state = "live, newest"
		case l.Live:
			state = "live"
		case l.Newest:
			state = "index good, newest"
		case state == "":
			state = "index good" // its blocks were not read
		}
		state += l.ahead
		if l.Pin != nil {
			state += ", " + pinText(*l.Pin)
		}
		shards, records := "-", "-"
		if l.Shards > 0 { // else the generation is missing
			shards = strconv.Itoa(l.Shards)
		}
		if l.readable {
			records = humanize.Comma(int64(l.Records))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Generation, l.Created.Format(time.DateTime),
			shards, records, humanize.Comma(l.Bytes), state)
	}
	return t.Flush()
}

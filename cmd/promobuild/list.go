package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/format/generation"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "list the generations of a directory, oldest first",
		ArgsUsage: "DIR",
		Description: `Says which one is the newest that can be served, which is pinned, by whom and
why, which are incomplete and which are bad. It looks at all but the blocks;
verify looks at those too.

Example:
   promobuild list /srv/promotions`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print a JSON array"},
		},
		Action: list,
	}
}

// listed is a line of list.
type listed struct {
	Generation string    `json:"generation"`
	Created    time.Time `json:"created"`
	Newest     bool      `json:"newest"` // of those that can be served
	Complete   bool      `json:"complete"`
	Files      []string  `json:"files"`
	Records    uint64    `json:"records"`
	Bytes      int64     `json:"bytes"`
	Error      string    `json:"error,omitempty"` // why it cannot be served

	Pin *generation.Pin `json:"pin,omitempty"` // if it is pinned
}

func list(c *cli.Context) error {
	args, err := wantArgs(c, 1, 1)
	if err != nil {
		return err
	}
	generations, err := generation.List(args[0])
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	lines := []listed{}
	newest := -1
	for i, g := range generations {
		lines = append(lines, look(g))
		if lines[i].Error == "" {
			newest = i
		}
	}
	if newest >= 0 {
		lines[newest].Newest = true
	}
	pin, pinErr := generation.ReadPin(args[0])
	if pinErr != nil {
		pinErr = fmt.Errorf("list: %w: unpin, or pin anew", pinErr)
	}
	lines = markPinned(lines, pin)
	if c.Bool("json") {
		return errors.Join(json.NewEncoder(c.App.Writer).Encode(lines), pinErr)
	}
	return errors.Join(printList(c.App.Writer, lines), pinErr)
}

// markPinned says in the line of the pinned generation that it is, and adds one
// if there is none.
func markPinned(lines []listed, pin generation.Pin) []listed {
	if !pin.Active {
		return lines
	}
	// Both are in the order of the IDs, which is that of their texts. Of two
	// lines with one ID the first is that of a single file.
	i, found := slices.BinarySearchFunc(lines, pin.ID.String(), func(l listed, id string) int { return cmp.Compare(l.Generation, id) })
	if !found {
		lines = slices.Insert(lines, i, listed{Generation: pin.ID.String(), Created: pin.ID.Time(), Files: []string{}, Error: "missing"})
	}
	lines[i].Pin = &pin
	return lines
}

// look opens a generation's files to see whether it can be served.
func look(g generation.Generation) listed {
	l := listed{Generation: g.ID.String(), Created: g.ID.Time(), Complete: g.Complete(), Files: g.Files}
	h, err := g.Header()
	switch {
	case errors.Is(err, generation.ErrIncomplete):
		l.Error = fmt.Sprintf("incomplete: %d of %d files", len(g.Files), g.Shards)
	case err != nil:
		l.Error = "bad: " + err.Error()
	}
	l.Records = h.Records
	for _, path := range g.Files {
		if st, err := os.Stat(path); err == nil {
			l.Bytes += st.Size()
		}
	}
	return l
}

func printList(w io.Writer, lines []listed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "GENERATION\tCREATED\tRECORDS\tBYTES\tSTATE")
	for _, l := range lines {
		state := l.Error
		switch {
		case l.Newest:
			state = "newest"
		case state == "":
			state = "good"
		}
		if l.Pin != nil {
			state += ", " + pinText(*l.Pin)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Generation, l.Created.Format(time.DateTime),
			humanize.Comma(int64(l.Records)), humanize.Comma(l.Bytes), state)
	}
	return t.Flush()
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"promostore/format"
	"promostore/format/generation"
	"promostore/reader"
)

// maxShow bounds the rows that diff keeps in memory until the counts are known.
const maxShow = 100_000

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "compare two generations",
		ArgsUsage: "A B",
		Description: `Counts the promotions that B has and A lacks, that A has and B lacks, and whose
price or date is written differently, and shows the first of each. Both are read
once, side by side, and checked on the way. A and B are files, or generations of
--data; DIR stands for its newest servable generation.

Exits with 0 whether they differ or not.

Example:
   promobuild diff --data /srv/promotions 20261122T103000123Z 20261122T110000456Z`,
		Flags: []cli.Flag{
			dataFlag(),
			&cli.IntFlag{Name: "show", Value: 10, Usage: fmt.Sprintf("show up to `N` rows of each, %d at most", maxShow)},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: diff,
	}
}

// A comparison is what diff finds out.
type comparison struct {
	From compared `json:"from"`
	To   compared `json:"to"`

	Added     int64 `json:"added"`
	Removed   int64 `json:"removed"`
	Changed   int64 `json:"changed"`
	Unchanged int64 `json:"unchanged"`

	Shown shown `json:"shown"`
}

// compared is one of the two files.
type compared struct {
	File       string `json:"file"`
	Generation string `json:"generation"`
	Records    uint64 `json:"records"`
}

// shown is the first of each kind, in the order of their ids.
type shown struct {
	Added   []row        `json:"added"`
	Removed []row        `json:"removed"`
	Changed []changedRow `json:"changed"`
}

type changedRow struct {
	From row `json:"from"`
	To   row `json:"to"`
}

// A row is a record with the dictionary of its file.
type row struct {
	record format.Record
	styles []format.TimestampStyle
}

func (r row) MarshalJSON() ([]byte, error) {
	return format.JSONOptions{Date: format.DateSource, Decimals: -1}.AppendJSON(nil, &r.record, r.styles), nil
}

func (r row) String() string { return string(r.record.AppendCSV(nil, r.styles, ',')) }

func diff(c *cli.Context) error {
	args, err := wantArgs(c, 2, 2)
	if err != nil {
		return err
	}
	show := c.Int("show")
	if show < 0 || show > maxShow {
		return usagef("diff: --show %d is not from 0 to %d", show, maxShow)
	}
	ctx, stop := untilSignal(c.Context)
	defer stop()
	var files [2]*reader.File
	var sides [2]compared
	for i, arg := range args {
		f, path, err := openGeneration(c.String("data"), arg)
		if err != nil {
			return fmt.Errorf("diff: %w", err)
		}
		defer f.Close()
		files[i], sides[i] = f, compared{path, f.ID().String(), f.Header().Records}
	}
	d := &differ{show: show}
	d.From, d.To = sides[0], sides[1]
	finish := func() error { return nil }
	if isTerminal(c.App.ErrWriter) {
		bar := newBar(c.App.ErrWriter, max(1, int64(d.From.Records+d.To.Records)*format.RecordLen), "diff", true)
		d.progress = func(n int) { _ = bar.Add(n * format.RecordLen) }
		finish = bar.Finish
	}
	err = d.run(ctx, files[0], files[1])
	_ = finish()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("diff: interrupted: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("diff: %w", err)
	case c.Bool("json"):
		return json.NewEncoder(c.App.Writer).Encode(d.comparison)
	}
	return printComparison(c.App.Writer, &d.comparison)
}

// openGeneration opens a generation of the directory, or what open opens.
func openGeneration(dir, arg string) (*reader.File, string, error) {
	id, err := generation.ParseID(arg)
	if err != nil {
		return open(arg)
	}
	g, err := generation.Find(dir, id)
	if err != nil {
		return nil, "", err
	}
	return open(g.Files[0])
}

// A differ compares two files, whose records come in the order of their ids.
type differ struct {
	comparison
	show     int
	progress func(records int) // may be nil
}

// run reads and checks both files, each in a goroutine of its own, and compares
// in a third.
func (d *differ) run(ctx context.Context, from, to *reader.File) error {
	d.Shown = shown{[]row{}, []row{}, []changedRow{}}
	group, ctx := errgroup.WithContext(ctx)
	a, b := newStream(from), newStream(to)
	group.Go(func() error { return a.fill(ctx, d.From.File) })
	group.Go(func() error { return b.fill(ctx, d.To.File) })
	group.Go(func() error { return d.compare(ctx, a, b) })
	return group.Wait()
}

// compare steps through both. The records in front of those that it is at have
// been compared: neither file has them.
func (d *differ) compare(ctx context.Context, a, b *stream) error {
	styles, alike := sameStyles(a.styles, b.styles)
	for {
		if err := d.refill(ctx, a, b); err != nil {
			return err
		}
		if alike {
			n := equalPrefix(a.records, b.records)
			d.Unchanged += int64(n)
			a.records, b.records = a.records[n:], b.records[n:]
		}
		switch {
		case len(a.records) == 0 && len(b.records) == 0:
			if a.ended && b.ended {
				return nil
			}
		case len(a.records) == 0 && !a.ended, len(b.records) == 0 && !b.ended:
			// The next record may be the same one.
		default:
			d.step(a, b, styles)
		}
	}
}

// refill gives a and b something to compare, unless they have ended.
func (d *differ) refill(ctx context.Context, streams ...*stream) error {
	for _, s := range streams {
		if len(s.records) > 0 || s.ended {
			continue
		}
		if err := s.next(ctx); err != nil {
			return err
		}
		if d.progress != nil {
			d.progress(len(s.records))
		}
	}
	return nil
}

// step compares what a and b are at, of which one at least has not ended.
func (d *differ) step(a, b *stream, styles []int) {
	order := -1
	switch {
	case len(a.records) == 0:
		order = 1
	case len(b.records) > 0:
		order = a.records[0].Key().Compare(b.records[0].Key())
	}
	switch {
	case order < 0:
		d.Removed++
		d.Shown.Removed = keep(d.Shown.Removed, d.show, row{a.records[0], a.styles})
		a.records = a.records[1:]
		return
	case order > 0:
		d.Added++
		d.Shown.Added = keep(d.Shown.Added, d.show, row{b.records[0], b.styles})
		b.records = b.records[1:]
		return
	}
	from, to := &a.records[0], &b.records[0]
	if from.Price() == to.Price() && from.Seconds() == to.Seconds() && styles[from.Style()] == to.Style() {
		d.Unchanged++
	} else {
		d.Changed++
		if len(d.Shown.Changed) < d.show {
			d.Shown.Changed = append(d.Shown.Changed, changedRow{row{*from, a.styles}, row{*to, b.styles}})
		}
	}
	a.records, b.records = a.records[1:], b.records[1:]
}

func keep(rows []row, most int, r row) []row {
	if len(rows) < most {
		rows = append(rows, r)
	}
	return rows
}

// equalPrefix is how many records a and b begin with that are the same.
func equalPrefix(a, b []format.Record) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// sameStyles is for each zone of a where b has it, or -1, and whether that is
// the same place for all.
func sameStyles(a, b []format.TimestampStyle) (at []int, alike bool) {
	in := map[format.TimestampStyle]int{}
	for i, z := range b {
		in[z] = i
	}
	alike = true
	at = make([]int, len(a))
	for i, z := range a {
		j, found := in[z]
		if !found {
			j = -1
		}
		at[i] = j
		alike = alike && i == j
	}
	return at, alike
}

// streamLen is how many records a stream passes on at once, about, and
// streamBufs how many such pieces there are. What compares is slower than what
// reads only where the files differ a lot.
const (
	streamLen  = 1 << 15 // 1 MiB
	streamBufs = 3
)

// A stream is the records of a file, read ahead.
type stream struct {
	file   *reader.File
	styles []format.TimestampStyle
	full   chan []format.Record
	free   chan []format.Record

	buf     []format.Record // what next got last
	records []format.Record // what is left of it
	ended   bool
}

func newStream(f *reader.File) *stream {
	s := &stream{file: f, styles: f.Styles(), full: make(chan []format.Record, streamBufs), free: make(chan []format.Record, streamBufs)}
	for range streamBufs {
		s.free <- nil // made when it is first filled: a small file has no need of them all
	}
	return s
}

// fill reads the file to its end.
func (s *stream) fill(ctx context.Context, path string) error {
	defer close(s.full)
	err := s.file.Scan(ctx, func(records []format.Record) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case buf := <-s.free:
			s.full <- append(buf[:0], records...) // has room for as many as there are
			return nil
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// next gives back what was compared and takes what comes next. A file that
// cannot be read looks as if it had ended, and then run fails by fill's error.
func (s *stream) next(ctx context.Context) error {
	if s.buf != nil {
		s.free <- s.buf
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case buf, ok := <-s.full:
		s.buf, s.records, s.ended = buf, buf, !ok
		return nil
	}
}

func printComparison(w io.Writer, d *comparison) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "from\t%s: %s\n", d.From.File, count(int64(d.From.Records), "record"))
	fmt.Fprintf(t, "to\t%s: %s\n", d.To.File, count(int64(d.To.Records), "record"))
	fmt.Fprintf(t, "added\t%s\n", humanize.Comma(d.Added))
	fmt.Fprintf(t, "removed\t%s\n", humanize.Comma(d.Removed))
	fmt.Fprintf(t, "changed\t%s\n", humanize.Comma(d.Changed))
	fmt.Fprintf(t, "unchanged\t%s\n", humanize.Comma(d.Unchanged))
	title := func(what string, n int, of int64) {
		if n > 0 {
			fmt.Fprintf(t, "\n%s, %s of %s:\n", what, humanize.Comma(int64(n)), humanize.Comma(of))
		}
	}
	title("added", len(d.Shown.Added), d.Added)
	for _, r := range d.Shown.Added {
		fmt.Fprintf(t, "+ %s\n", r)
	}
	title("removed", len(d.Shown.Removed), d.Removed)
	for _, r := range d.Shown.Removed {
		fmt.Fprintf(t, "- %s\n", r)
	}
	title("changed", len(d.Shown.Changed), d.Changed)
	for _, r := range d.Shown.Changed {
		fmt.Fprintf(t, "- %s\n+ %s\n", r.From, r.To)
	}
	return t.Flush()
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
	"promostore/reader"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show the header and the layout of a generation",
		ArgsUsage: "[FILE|DIR|ID]",
		Description: `Show the counts, the range of IDs, the regions and the timestamp styles. Read
everything but the blocks.

` + argumentHelp + `

Example:
   promobuild inspect --json data/promotions-20261122T103000123Z-00000-of-00001.pgen`,
		Flags: append(sourceFlags(),
			&cli.BoolFlag{Name: "json", Usage: "print a JSON object"},
		),
		Action: program.Printing(inspect),
	}
}

// inspection holds the facts that inspect prints.
type inspection struct {
	File           string          `json:"file"`
	FormatVersion  int             `json:"format_version"`
	Generation     string          `json:"generation"`
	Created        time.Time       `json:"created"`
	Ahead          float64         `json:"ahead,omitempty"` // seconds ahead of the clock
	Shard          uint32          `json:"shard"`           // from 0
	Shards         uint32          `json:"shards"`
	Rows           uint64          `json:"rows"`
	Records        uint64          `json:"records"`
	Duplicates     uint64          `json:"duplicates"`
	BadRows        uint64          `json:"bad_rows"`
	FileBytes      int64           `json:"file_bytes"`
	BytesPerRecord float64         `json:"bytes_per_record"` // 0 without records
	Blocks         int64           `json:"blocks"`
	FirstID        string          `json:"first_id"` // empty without records
	LastID         string          `json:"last_id"`
	Regions        []format.Region `json:"regions"`
	Dates          []string        `json:"dates"` // the same time in each timestamp style of the dictionary
}

func inspect(c *cli.Context) error {
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	arg, err := s.argument(c)
	if err != nil {
		return err
	}
	f, err := s.open(c.Context, arg)
	if err != nil {
		return err
	}
	defer f.Close()
	x := inspectFile(f.File, f.path)
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(x)
	}
	return x.print(c.App.Writer)
}

func inspectFile(f *reader.File, path string) inspection {
	h := f.Header()
	x := inspection{
		File:          path,
		FormatVersion: int(h.Version),
		Generation:    f.ID().String(),
		Created:       f.ID().Time(),
		Ahead:         f.ID().Ahead(time.Now()).Seconds(),
		Shard:         h.Shard,
		Shards:        h.Shards,
		Rows:          h.Rows,
		Records:       h.Records,
		Duplicates:    h.Duplicates,
		BadRows:       h.BadRows,
		FileBytes:     h.FileLen,
		Blocks:        h.Blocks(),
		Regions:       f.Index().Regions(),
		Dates:         []string{},
	}
	if h.Records > 0 {
		x.BytesPerRecord = float64(h.FileLen) / float64(h.Records)
		x.FirstID, x.LastID = h.MinKey.String(), h.MaxKey.String()
	}
	seconds, _, _, err := format.ParseDate([]byte(time.DateTime))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, style := range f.Styles() {
		x.Dates = append(x.Dates, string(style.AppendDate(nil, seconds)))
	}
	return x
}

func (x *inspection) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "file\t%s\n", escape.Name(x.File))
	fmt.Fprintf(t, "format version\t%d\n", x.FormatVersion)
	fmt.Fprintf(t, "generation\t%s\n", x.Generation)
	fmt.Fprintf(t, "created\t%s UTC%s\n", x.Created.Format(time.DateTime), aheadText(generation.IDOf(x.Created), time.Now()))
	fmt.Fprintf(t, "shard\t%d of %d\n", x.Shard, x.Shards)
	fmt.Fprintf(t, "rows\t%s\n", humanize.Comma(int64(x.Rows)))
	fmt.Fprintf(t, "records\t%s\n", humanize.Comma(int64(x.Records)))
	fmt.Fprintf(t, "duplicates\t%s\n", humanize.Comma(int64(x.Duplicates)))
	fmt.Fprintf(t, "bad rows\t%s\n", humanize.Comma(int64(x.BadRows)))
	fmt.Fprintf(t, "bytes\t%s\n", humanize.Comma(x.FileBytes))
	if x.Records > 0 {
		fmt.Fprintf(t, "bytes per record\t%.1f\n", x.BytesPerRecord)
		fmt.Fprintf(t, "first id\t%s\n", x.FirstID)
		fmt.Fprintf(t, "last id\t%s\n", x.LastID)
	}
	fmt.Fprintf(t, "blocks\t%s\n", humanize.Comma(x.Blocks))
	for _, r := range x.Regions {
		fmt.Fprintf(t, "region %s\t%s bytes at %s\n", r.Name, humanize.Comma(r.Len), humanize.Comma(r.Offset))
	}
	for i, date := range x.Dates {
		fmt.Fprintf(t, "dates %d\tas %s\n", i, date)
	}
	return t.Flush()
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
)

func inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "show the header and the layout of a generation",
		ArgsUsage: "[FILE|DIR|ID]",
		Description: `Show the counts, the range of IDs, the regions and the timestamp styles. For
a generation with several shards, show the sums and a row for each shard; with over
64 shards, only for the smallest and the largest. Read everything but the blocks.

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
	File           string          `json:"file"` // or a pattern for the files of several shards
	FormatVersion  int             `json:"format_version"`
	Generation     string          `json:"generation"`
	Created        time.Time       `json:"created"`
	Ahead          float64         `json:"ahead,omitempty"` // seconds ahead of the clock
	Shard          *uint32         `json:"shard,omitempty"` // from 0; nil: several
	Shards         uint32          `json:"shards"`
	ShardBy        string          `json:"shard_by"`
	Rows           uint64          `json:"rows"`
	Records        uint64          `json:"records"`
	Duplicates     uint64          `json:"duplicates"`
	BadRows        uint64          `json:"bad_rows"`
	FileBytes      int64           `json:"file_bytes"`
	BytesPerRecord float64         `json:"bytes_per_record"` // 0 without records
	Blocks         int64           `json:"blocks"`
	FirstID        string          `json:"first_id"` // empty without records
	LastID         string          `json:"last_id"`
	Regions        []format.Region `json:"regions,omitempty"` // of one shard
	Dates          []string        `json:"dates"`             // the same time in each timestamp style of the dictionary
	Files          []shardFile     `json:"files,omitempty"`   // of several shards
}

// A shardFile describes one of several shards.
type shardFile struct {
	File       string `json:"file"`
	Shard      uint32 `json:"shard"`
	Rows       uint64 `json:"rows"`
	Records    uint64 `json:"records"`
	Duplicates uint64 `json:"duplicates"`
	BadRows    uint64 `json:"bad_rows"`
	FileBytes  int64  `json:"file_bytes"`
	FirstID    string `json:"first_id"` // empty without records
	LastID     string `json:"last_id"`
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
	o, err := s.open(c.Context, arg)
	if err != nil {
		return err
	}
	defer o.Close()
	x := inspectionOf(o)
	if c.Bool("json") {
		return program.PrintJSON(c.App.Writer, x)
	}
	return x.print(c.App.Writer)
}

func inspectionOf(o opened) inspection {
	h := &o.Header
	x := inspection{
		File:          o.path,
		FormatVersion: int(h.Version),
		Generation:    o.ID().String(),
		Created:       o.ID().Time(),
		Ahead:         o.ID().Ahead(time.Now()).Seconds(),
		Shards:        h.Shards,
		ShardBy:       h.Rule.String(),
		Rows:          h.Rows,
		Records:       h.Records,
		Duplicates:    h.Duplicates,
		BadRows:       h.BadRows,
		FileBytes:     h.FileLen,
		Blocks:        o.blocks(),
		Dates:         []string{},
	}
	x.FirstID, x.LastID = idRange(h)
	if h.Records > 0 {
		x.BytesPerRecord = float64(h.FileLen) / float64(h.Records)
	}
	seconds, _, _, err := format.ParseDate([]byte(time.DateTime))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	for _, style := range o.Styles() {
		x.Dates = append(x.Dates, string(style.AppendDate(nil, seconds)))
	}
	files := o.Open()
	if len(files) == 1 {
		x.Shard, x.Regions = &files[0].Index.Shard, files[0].Index.Regions()
		return x
	}
	for _, f := range files {
		h := f.Header()
		first, last := idRange(h)
		x.Files = append(x.Files, shardFile{f.Name(), h.Shard, h.Rows, h.Records, h.Duplicates, h.BadRows, h.FileLen, first, last})
	}
	return x
}

// idRange returns the first and the last id, or empty texts without records.
func idRange(h *format.Header) (first, last string) {
	if h.Records == 0 {
		return "", ""
	}
	return h.MinKey.String(), h.MaxKey.String()
}

func (x *inspection) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	name, shards := "file", ""
	if x.Shards > 1 {
		shards = fmt.Sprintf(", by the %s digits of the IDs", x.ShardBy)
	}
	if x.Shard == nil {
		part := ""
		if n := len(x.Files); n < int(x.Shards) {
			part = fmt.Sprintf("%d of ", n)
		}
		name, shards = "files", fmt.Sprintf("shards\t%s%d%s", part, x.Shards, shards)
	} else {
		shards = fmt.Sprintf("shard\t%d of %d%s", *x.Shard, x.Shards, shards)
	}
	fmt.Fprintf(t, "%s\t%s\n", name, escape.Name(x.File))
	fmt.Fprintf(t, "format version\t%d\n", x.FormatVersion)
	fmt.Fprintf(t, "generation\t%s\n", x.Generation)
	fmt.Fprintf(t, "created\t%s UTC%s\n", x.Created.Format(time.DateTime), aheadText(generation.IDOf(x.Created), time.Now()))
	fmt.Fprintln(t, shards)
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
	if err := t.Flush(); err != nil || x.Shard != nil {
		return err
	}
	return printShards(w, x.Files, x.Records)
}

// maxShardRows is the number of shards of which inspect prints a row for each.
const maxShardRows = 64

// printShards prints a row for each shard, or for the smallest and the largest of
// many. records is their sum.
func printShards(w io.Writer, files []shardFile, records uint64) error {
	byRecords := func(a, b shardFile) int { return cmp.Compare(a.Records, b.Records) }
	rows := files
	if len(files) > maxShardRows {
		rows = []shardFile{slices.MinFunc(files, byRecords), slices.MaxFunc(files, byRecords)}
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nSHARD\tROWS\tRECORDS\tOF THE MEAN\tDUPLICATES\tBAD ROWS\tBYTES")
	for _, f := range rows {
		percent := 100.0
		if records > 0 {
			percent = float64(f.Records) * float64(len(files)) / float64(records) * 100
		}
		fmt.Fprintf(t, "%d\t%s\t%s\t%.0f %%\t%s\t%s\t%s\n", f.Shard, humanize.Comma(int64(f.Rows)), humanize.Comma(int64(f.Records)), percent,
			humanize.Comma(int64(f.Duplicates)), humanize.Comma(int64(f.BadRows)), humanize.Comma(f.FileBytes))
	}
	if len(rows) < len(files) {
		fmt.Fprintf(t, "These are the smallest and the largest shard; --json prints all %d.\n", len(files))
	}
	return t.Flush()
}

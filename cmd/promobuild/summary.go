package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"promostore/builder"
	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/internal/tasks"
)

// shardWarning returns a warning if the shards of a generation are uneven.
func shardWarning(s builder.Summary) string {
	if !s.Uneven() {
		return ""
	}
	l := s.LargestShard
	return fmt.Sprintf("shard %d has %s of %s, %.1f times the mean; these IDs may be divided more evenly with --shard-by %s",
		l.Shard, humanize.Comma(l.Records), english.Count(s.Records, "record"), float64(l.Records)*float64(s.Shards)/float64(s.Records), s.OtherRule())
}

// printSummary prints the result of a build as a table.
func printSummary(w io.Writer, s builder.Summary) error {
	perRecord := ""
	if s.Records > 0 {
		perRecord = fmt.Sprintf(", %.1f bytes per record", float64(s.FileBytes)/float64(s.Records))
	}
	var phases []string
	for _, phase := range []builder.Phase{tasks.PhaseSplit, builder.PhaseRead, builder.PhaseSort, builder.PhaseMerge, builder.PhaseCompare, builder.PhasePublish} {
		if seconds, ok := s.Phases[phase]; ok {
			phases = append(phases, fmt.Sprintf("%s %.2f s", phase, seconds))
		}
	}
	isTasks := s.PeakRSSBytes == 0 // the build was that of many processes
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "generation\t%s\n", s.Generation)
	label := "file"
	if s.Shards > 1 {
		label = "files"
	}
	fmt.Fprintf(t, "%s\t%s\n", label, escape.Name(patternOf(s.File, s.Shards)))
	if l := s.LargestShard; l != nil {
		fmt.Fprintf(t, "shards\t%d, by the %s digits; shard %d is the largest: %s\n", s.Shards, s.ShardBy, l.Shard, english.Count(l.Records, "record"))
	}
	fmt.Fprintf(t, "rows\t%s\n", humanize.Comma(s.Rows))
	fmt.Fprintf(t, "records\t%s\n", humanize.Comma(s.Records))
	fmt.Fprintf(t, "duplicates\t%s\n", humanize.Comma(s.Duplicates))
	fmt.Fprintf(t, "bad rows\t%s\n", humanize.Comma(s.BadRows))
	if s.Unterminated {
		fmt.Fprintf(t, "unterminated\t%s: no line end after the last row\n", escape.Name(strings.Join(s.UnterminatedInputs, ", ")))
	}
	if c := s.Comparison; c != nil {
		fmt.Fprintf(t, "compared with\t%s: %s\n", c.Live, english.Count(c.LiveRecords, "record"))
		fmt.Fprintf(t, "added\t%s\n", humanize.Comma(c.Added))
		fmt.Fprintf(t, "removed\t%s\n", humanize.Comma(c.Removed))
		fmt.Fprintf(t, "changed\t%s\n", humanize.Comma(c.Changed))
		fmt.Fprintf(t, "unchanged\t%s\n", humanize.Comma(c.Unchanged))
	}
	fmt.Fprintf(t, "input\t%s\n", humanize.IBytes(uint64(s.InputBytes)))
	fmt.Fprintf(t, "output\t%s%s\n", humanize.IBytes(uint64(s.FileBytes)), perRecord)
	if !isTasks {
		fmt.Fprintf(t, "spilled\t%s\n", humanize.IBytes(uint64(s.SpilledBytes)))
	}
	of := ""
	if isTasks {
		of = " since the plan; of all tasks"
	}
	fmt.Fprintf(t, "time\t%.2f s%s: %s\n", s.Seconds, of, strings.Join(phases, ", "))
	fmt.Fprintf(t, "speed\t%s rows/s\n", humanize.Comma(int64(float64(s.Rows)/max(s.Seconds, 1e-9))))
	if !isTasks {
		fmt.Fprintf(t, "peak memory\t%s\n", humanize.IBytes(uint64(s.PeakRSSBytes)))
	}
	return t.Flush()
}

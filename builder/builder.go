// Package builder builds one generation, of one file or several shards, from CSV
// files of promotions.
//
// Workers read the input in chunks, parse the chunks at the same time and add the
// records to an external sort, package extsort. Chunks of plain inputs and of pipes
// are read one after the other. Several compressed files are read at the same time,
// because their decompression is slower than parsing, and so are several objects of
// object storage, each in several parts.
// The sorted records are written to temporary files, one for each shard, which then
// become the generation. The input is read once, from start to end, without seeks.
//
// If the records fit into memory, the files are written through the page cache,
// because they are read next. If they do not, the files bypass the page cache.
//
// The same rows, the same generation ID and the same sharding produce the same
// bytes. Memory, workers, compression and the division of the rows into inputs do
// not matter: the sort restores the order of rows with the same id, and timestamp
// styles, which are numbered as they appear, are numbered again at the end.
//
// Records live in a mapping of fixed size, and workers have buffers of fixed
// size. Both are part of Options.Memory, and so are the decompressors of files that
// are read at the same time, and the parts of objects. The runtime and the program need at
// most 64 MiB more, of which 8 MiB are for the decoders of BGZF data.
//
// An input that is not a CSV, such as a zip archive, fails the build with a
// *KindError. A build that already has too many bad rows stops early if all rows
// at the start of an input are bad for the same reason, or if the first row is a
// header of other names, unless there is Options.Rejects.
//
// The CSV format is RFC 4180 with two restrictions: a row longer than 256 KiB is
// a bad row, and so is a row with a quoted field that contains a line end. No
// promotion needs either.
package builder

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/english"
)

// MinMemory is the smallest Options.Memory, in bytes.
const MinMemory = 64 << 20

// Duplicates is a policy for rows with the same id.
type Duplicates int

// The policies.
const (
	KeepLast        Duplicates = iota // keep the last row of the input
	KeepFirst                         // keep the first row
	FailOnDuplicate                   // fail the build
)

// Options configures a build.
type Options struct {
	Inputs      []Input         // in the order that decides between duplicates
	Dir         string          // data directory; created if it does not exist
	TempDir     string          // directory of the spill; Dir if empty
	Generation  generation.ID   // 0: the current time
	AllowFuture bool            // accept a Generation from the future, see generation.MaxAhead
	Sharding    format.Sharding // the zero value: unsharded
	Memory      int64           // bytes; at least MinMemory
	Workers     int             // goroutines that parse and sort; 0: one for each processor
	Duplicates  Duplicates
	MaxBadRows  int64 // bad rows that are skipped; one more fails the build
	Delimiter   byte  // between fields; 0: a comma
	Guards

	// RequireFinalNewline makes an input whose last row has no line end fail the
	// build with ErrUnterminated.
	RequireFinalNewline bool

	// Continued means that rows of other builds precede those of the inputs. The
	// build fails with a *LastRowError if only they can tell whether a last row
	// without a line end is complete.
	Continued bool

	// Rejects, if not nil, receives every bad row as CSV: file, line, column,
	// reason, row. A Write that blocks does not block the cancellation of the
	// build.
	Rejects io.Writer

	// Source and Program, the version of the program, are for the summary file of
	// the generation; see generation.Summary. Without Source it gets none.
	Source  generation.Source
	Program string

	// Publishing, if not nil, is called with the ID of the generation just
	// before its files are published. An error fails the build.
	Publishing func(generation.ID) error

	// Observe, if not nil, is called at the start of each phase and then often.
	// Calls do not overlap. Observe must not block.
	Observe func(Status)
}

// A Phase is a part of a build.
type Phase string

// The phases, in order. A build has PhaseSort if its records fit into memory,
// and PhaseMerge if they do not.
const (
	PhaseRead    Phase = "read"    // parse the input; sort and spill records that do not fit into memory
	PhaseSort    Phase = "sort"    // sort the records in memory and write them
	PhaseMerge   Phase = "merge"   // merge the spilled records and write them
	PhaseCompare Phase = "compare" // compare the records with the live generation, if Options limit the changes
	PhasePublish Phase = "publish" // complete, sync and rename the files
)

// Status is the progress of a build.
type Status struct {
	Phase      Phase
	InputBytes int64 // read so far; compressed bytes of compressed inputs
	InputSize  int64 // of all inputs; 0 if unknown
	Rows       int64 // read so far
	Records    int64 // written so far
}

// A Summary describes a finished build.
type Summary struct {
	Generation   string            `json:"generation"`
	File         string            `json:"file"` // path of the first file
	Files        []string          `json:"-"`    // paths of all files, by shard
	Shards       int               `json:"shards"`
	ShardBy      string            `json:"shard_by"`                // none, last or first
	LargestShard *ShardSize        `json:"largest_shard,omitempty"` // the first of the largest shards; nil if there is one shard
	Rows         int64             `json:"rows"`                    // Records + Duplicates + BadRows
	Records      int64             `json:"records"`
	Duplicates   int64             `json:"duplicates"`
	BadRows      int64             `json:"bad_rows"`
	InputBytes   int64             `json:"input_bytes"` // compressed bytes of compressed inputs
	FileBytes    int64             `json:"file_bytes"`
	SpilledBytes int64             `json:"spilled_bytes"`
	Seconds      float64           `json:"seconds"`
	Phases       map[Phase]float64 `json:"phases"`               // seconds
	PeakRSSBytes int64             `json:"peak_rss_bytes"`       // of the process
	Comparison   *Comparison       `json:"comparison,omitempty"` // nil: none was made

	Unterminated       bool     `json:"unterminated"` // the last row of an input has no line end; the input may be cut
	UnterminatedInputs []string `json:"-"`            // their names

	Bad   []BadRow `json:"bad,omitempty"` // the first 20 bad rows, in the order of the inputs
	Lines []int64  `json:"-"`             // lines of each input, header rows and blank lines included
}

// Errors of Build, wrapped with details.
var (
	// ErrEmpty means that the input has no good rows and Guards.AllowEmpty is
	// not set.
	ErrEmpty = errors.New("no promotions in the input")

	// ErrMemory means that Options.Memory is too small. Budget 64 MiB per 300 M
	// rows.
	ErrMemory = extsort.ErrMemory
)

// SummaryFile returns the content of the summary file, without the inputs.
func (s *Summary) SummaryFile(source generation.Source, program string, started time.Time) *generation.Summary {
	f := &generation.Summary{
		Program: program,
		Source:  source,
		Started: started.UTC().Round(time.Millisecond),
		Seconds: math.Round(s.Seconds*1000) / 1000,
		Rows:    s.Rows, Records: s.Records, Duplicates: s.Duplicates, BadRows: s.BadRows,
	}
	for _, r := range s.Bad {
		f.Bad = append(f.Bad, generation.SummaryBadRow{File: r.Input, Line: r.Line, Column: r.Column, Reason: r.Reason, Row: r.Text})
	}
	if c := s.Comparison; c != nil {
		f.Comparison = &generation.SummaryComparison{Live: c.Live, LiveRecords: c.LiveRecords, Added: c.Added, Removed: c.Removed, Changed: c.Changed, Unchanged: c.Unchanged}
	}
	return f
}

// maxShown is the number of bad rows or repeated ids that an error lists.
const maxShown = 20

// A ShardSize is the size of one shard.
type ShardSize struct {
	Shard   int   `json:"shard"` // counted from 0
	Records int64 `json:"records"`
}

// maxEven is the number of records up to which shards never count as uneven. Chance
// alone can double a small shard.
const maxEven = 1000

// Uneven reports whether the largest shard has over 1,000 records and more than
// twice the mean.
func (s *Summary) Uneven() bool {
	return s.LargestShard != nil && s.LargestShard.Records > maxEven && s.LargestShard.Records > 2*s.Records/int64(s.Shards)
}

// OtherRule returns the rule, last or first, that would divide a sharded generation
// in the other way.
func (s *Summary) OtherRule() string {
	if s.ShardBy == format.ShardLast.String() {
		return format.ShardFirst.String()
	}
	return format.ShardLast.String()
}

// A BadRow is a row that is not a promotion.
type BadRow struct {
	Index  int    `json:"-"`      // of the input in Options.Inputs
	Input  string `json:"file"`   // name of the input
	Line   int64  `json:"line"`   // counted from 1
	Column int    `json:"column"` // first wrong byte of the line, counted from 1
	Reason string `json:"reason"`
	Text   string `json:"row"` // the row, cut to 200 bytes
}

func (r BadRow) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %q", r.Input, r.Line, r.Column, r.Reason, r.Text)
}

// A BadRowsError reports more bad rows than Options.MaxBadRows. It wraps its
// Cause.
type BadRowsError struct {
	Rows  []BadRow // the first 20
	Count int64    // of all that were read
	Max   int64    // Options.MaxBadRows

	// Cause is nil, or the reason why all rows at the start of an input are bad,
	// or the first one: a *DelimiterError, *ColumnsError, *KindError, or a text.
	Cause   error
	Stopped bool // because of Cause, the input was not read to its end
}

// shownWithCause is the number of bad rows that an error lists after its cause.
const shownWithCause = 3

func (e *BadRowsError) Error() string {
	var b strings.Builder
	if e.Stopped {
		b.WriteString("at least ")
	}
	fmt.Fprintf(&b, "%s, %d tolerated", english.Count(e.Count, "bad row"), e.Max)
	rows := e.Rows
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
		rows = rows[:min(len(rows), shownWithCause)]
	}
	for _, r := range rows {
		b.WriteString("\n  " + r.String())
	}
	if more := e.Count - int64(len(rows)); more > 0 && !e.Stopped {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *BadRowsError) Unwrap() error { return e.Cause }

// A DuplicatesError reports repeated ids under FailOnDuplicate.
type DuplicatesError struct {
	IDs   []string // the lowest 20, in order
	Count int64    // rows after the first of their id
}

func newDuplicatesError(count int64, keys []format.Key) *DuplicatesError {
	e := &DuplicatesError{Count: count}
	for _, k := range keys {
		e.IDs = append(e.IDs, k.String())
	}
	return e
}

func (e *DuplicatesError) Error() string {
	rows := "rows repeat"
	if e.Count == 1 {
		rows = "row repeats"
	}
	return strings.Join(append([]string{fmt.Sprintf("%d %s an id", e.Count, rows)}, e.IDs...), "\n  ")
}

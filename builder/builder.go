// Package builder turns promotions CSVs into one generation file.
//
// Workers read the input in chunks, one at a time and in turn, parse them at
// the same time, and scatter the records into buckets by the top bits of their
// ids. What fits into memory is sorted bucket by bucket and written. What does
// not is spilled: whenever memory is full, its records go to a temporary file
// as a sorted run, and at the end the runs are merged, range by range of ids.
// So every byte is written at most twice, whatever the order of the input and
// the distribution of the ids, and there is no seek in the input. What was
// merged is given back to the disk piece by piece: without duplicates the spill
// and the file together never take more than 1.2 times the file.
//
// What fits into memory is left in the page cache, as it is served next. What
// is spilled, and the file that comes of it, goes past the page cache.
//
// The same rows and the same generation ID make the same bytes, whatever the
// memory, the number of workers and of inputs: records move in the order of
// the input until they are sorted, the sort is stable, and what is numbered as
// it is met (zones) is numbered anew at the end.
//
// Memory: records live in an arena of fixed size; workers have buffers of
// fixed size beside it, for which the budget allows. What the runtime and the
// program themselves need, some 20 MB, comes on top.
//
// What it does not promise: rows over 256 KiB and quoted fields that go over a
// line end are bad rows, although RFC 4180 has them: no promotion has either.
package builder

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"promostore/format/generation"
)

// MinMemory is the least memory, in bytes, that a build can work in.
const MinMemory = 64 << 20

// Duplicates says what happens when an id comes twice.
type Duplicates int

// The ways to treat duplicates.
const (
	KeepLast  Duplicates = iota // the last row of the input wins
	KeepFirst                   // the first row wins
	Refuse                      // the build fails
)

// Options says what to build, and how.
type Options struct {
	Inputs     []Input       // in their order, which decides between duplicates
	Dir        string        // of generations; created if need be
	TempDir    string        // for what does not fit into memory; Dir if empty
	Generation generation.ID // 0: now
	Memory     int64         // bytes; at least MinMemory
	Workers    int           // goroutines that parse and sort; 0: one a processor
	Duplicates Duplicates
	MaxBadRows int64     // tolerated; one more fails the build
	Rejects    io.Writer // gets every bad row as CSV: file, line, column, reason, row; nil: nobody. One that is stuck holds nothing up but the build
	Delimiter  byte      // between fields; 0: a comma
	AllowEmpty bool      // publish a generation without records
	MinRecords int64     // fewer are refused
	MaxShrink  float64   // per cent fewer records than the live generation are tolerated; 0: any number

	// Publishing, if not nil, hears which generation it is just before the file
	// gets its name. An error keeps it from that.
	Publishing func(generation.ID) error

	// Observe, if not nil, hears how the build is going: at the start of each
	// phase and then often. Calls do not overlap, and should return at once.
	Observe func(Status)
}

// A Phase is a part of a build.
type Phase string

// The phases, in their order. PhaseSort is the last when everything fits into
// memory, PhaseMerge when not.
const (
	PhaseRead    Phase = "read"    // parse the input; sort and spill what does not fit
	PhaseSort    Phase = "sort"    // sort what is in memory and write it
	PhaseMerge   Phase = "merge"   // merge what was spilled and write it
	PhasePublish Phase = "publish" // complete the file, sync it, give it its name
)

// Status is how far a build is.
type Status struct {
	Phase      Phase
	InputBytes int64 // read so far, as they are on the disk: compressed ones count compressed
	InputSize  int64 // of all inputs; 0 if unknown
	Rows       int64 // read so far
	Records    int64 // written so far
}

// A Summary is what a build has done.
type Summary struct {
	Generation   string            `json:"generation"`
	File         string            `json:"file"`
	Rows         int64             `json:"rows"` // Records + Duplicates + BadRows
	Records      int64             `json:"records"`
	Duplicates   int64             `json:"duplicates"`
	BadRows      int64             `json:"bad_rows"`
	InputBytes   int64             `json:"input_bytes"` // as they are on the disk
	FileBytes    int64             `json:"file_bytes"`
	SpilledBytes int64             `json:"spilled_bytes"`
	Seconds      float64           `json:"seconds"`
	Phases       map[Phase]float64 `json:"phases"`         // seconds of each
	PeakRSSBytes int64             `json:"peak_rss_bytes"` // of the process
}

// ErrEmpty says that the input has no good rows and that this was not allowed.
var ErrEmpty = errors.New("the input has no promotions")

// A BadRow is a row that is no promotion.
type BadRow struct {
	Input  string // the name of the input
	Line   int64  // counted from 1
	Column int    // the first wrong byte of the line, counted from 1
	Reason string
	Text   string // of the row; a long one is cut
}

func (r BadRow) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %q", r.Input, r.Line, r.Column, r.Reason, r.Text)
}

// A BadRowsError says that more rows were bad than the build tolerates.
type BadRowsError struct {
	Rows  []BadRow // the first 20
	Count int64    // of all
	Max   int64    // tolerated
}

func (e *BadRowsError) Error() string {
	var b strings.Builder
	what := "bad rows"
	if e.Count == 1 {
		what = "bad row"
	}
	fmt.Fprintf(&b, "%d %s, %d tolerated; nothing was published", e.Count, what, e.Max)
	for _, r := range e.Rows {
		b.WriteString("\n  " + r.String())
	}
	if more := e.Count - int64(len(e.Rows)); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// A DuplicatesError says that ids came twice, which Refuse refuses.
type DuplicatesError struct {
	IDs   []string // the first 20 in the order of the ids
	Count int64    // rows over one for an id
}

func (e *DuplicatesError) Error() string {
	return fmt.Sprintf("%d rows repeat an id; nothing was published\n  %s", e.Count, strings.Join(e.IDs, "\n  "))
}

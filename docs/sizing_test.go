package docs_test

import (
	"math"
	"math/bits"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dustin/go-humanize"
)

// The measured figures of the sizing table: processor seconds and bytes of a row.
// Replace them after a measurement and run "make golden".
const (
	buildCPU      = 115e-9 // promobuild build --shards 16; docs/benchmarks.md#shards
	splitPlainCPU = 118e-9 // promobuild split of plain CSV, one processor; docs/benchmarks.md#tasks
	splitGzipCPU  = 188e-9 // promobuild split of gzip -1
	mergeCPU      = 78e-9  // promobuild merge

	plainRow  = 77.9 // in the CSV
	gzipRow   = 38   // in the CSV, compressed with gzip -1
	record    = 32.2 // in a generation
	spill     = 32.0 // of a record that the memory has no room for
	buildDisk = 1.2  // most disk of a build, relative to its file
)

// The assumptions of the sizing table, which its text states.
const (
	cores      = 8       // of a machine
	tasks      = 4       // of a machine, at the same time
	taskMemory = 3 << 30 // --memory
	network    = 1e9     // bytes a second, in each direction
	disk       = 1e9     // bytes a second, read and written
	slack      = 2       // time of a phase, relative to its busiest resource
	startTask  = 5       // seconds
	maxSplits  = 2048
	maxShard   = 33e9 // bytes
)

// A sizing is a column of the sizing table: a build of so many rows.
type sizing struct{ rows, machines float64 }

var sizings = []sizing{{1e9, 1}, {10e9, 4}, {100e9, 16}, {1e12, 64}}

var sizingRows = []struct {
	name string
	cell func(s sizing) string
}{
	{"input, plain", func(s sizing) string { return size(s.rows * plainRow) }},
	{"input, `gzip -1`", func(s sizing) string { return size(s.rows * gzipRow) }},
	{"machines", func(s sizing) string { return count(s.machines) }},
	{"`--split-size`, plain", func(s sizing) string {
		return strings.Replace(humanize.IBytes(splitSize(s.rows*plainRow)), ".0", "", 1)
	}},
	{"splits, plain", func(s sizing) string { return count(s.splits(plainRow)) }},
	{"splits, `gzip -1`", func(s sizing) string { return count(s.splits(gzipRow)) }},
	{"`--shards`", func(s sizing) string { return count(s.shards()) }},
	{"files of sorted runs, plain", func(s sizing) string { return count(s.splits(plainRow) * s.shards()) }},
	{"minutes of the splits, plain", func(s sizing) string { return minutes(s.split(plainRow, splitPlainCPU)) }},
	{"minutes of the splits, `gzip -1`", func(s sizing) string { return minutes(s.split(gzipRow, splitGzipCPU)) }},
	{"minutes of the merges", func(s sizing) string { return minutes(s.merge()) }},
	{"minutes of `promobuild build`, plain, on one machine", func(s sizing) string { return minutes(s.build()) }},
	{"temporary disk of a split, plain", func(s sizing) string { return size(s.rows / s.splits(plainRow) * record * buildDisk) }},
	{"temporary disk of a merge", func(s sizing) string { return size(s.rows / s.shards() * 2 * record) }},
	{"object storage besides the input", func(s sizing) string { return size(s.rows * 2 * record) }},
	{"received by each machine, plain", func(s sizing) string { return size(s.rows * (plainRow + record) / s.machines) }},
	{"sent by each machine", func(s sizing) string { return size(s.rows * 2 * record / s.machines) }},
}

// splitSize returns the bytes of a split of an input: 1 GiB, or the power of two that
// gives maxSplits.
func splitSize(input float64) uint64 {
	size := uint64(1 << 30)
	for input/float64(size) > maxSplits {
		size *= 2
	}
	return size
}

// splits returns the number of splits of an input with so many bytes a row.
func (s sizing) splits(row float64) float64 {
	return math.Ceil(s.rows * row / float64(splitSize(s.rows*row)))
}

// shards returns the number of shards of a generation: 16, or the power of two that
// gives files of maxShard.
func (s sizing) shards() float64 {
	return max(16, float64(uint64(1)<<bits.Len64(uint64(s.rows*record/maxShard))))
}

// split returns the seconds of all splits. Each writes its runs to the disk and reads
// them again to send them.
func (s sizing) split(row, cpu float64) float64 {
	written := record
	if s.rows/s.splits(row)*spill > taskMemory {
		written += spill
	}
	return s.phase(s.splits(row), cpu, max(row, record), written)
}

// merge returns the seconds of all merges. Each copies its runs to the disk, and the
// file from there.
func (s sizing) merge() float64 { return s.phase(s.shards(), mergeCPU, record, 2*record) }

// build returns the seconds of promobuild build on one machine.
func (s sizing) build() float64 {
	s.machines = 1
	return s.phase(0, buildCPU, plainRow, spill+record)
}

// phase returns the seconds of n tasks that take the given processor time, bytes of the
// busier direction of the network, and bytes that are written and read, for each row.
func (s sizing) phase(n, cpu, transferred, written float64) float64 {
	busiest := max(cpu/cores, transferred/network, written/disk)
	return slack*s.rows*busiest/s.machines + startTask*math.Ceil(n/(tasks*s.machines))
}

var sizingTable = regexp.MustCompile(`(?s)<!-- sizing -->\n.*?<!-- end -->\n`)

// size returns a number of bytes, rounded to two digits.
func size(v float64) string {
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return humanize.Bytes(uint64(math.Round(v/unit) * unit))
}

func count(v float64) string { return humanize.Comma(int64(v)) }

func minutes(seconds float64) string { return count(math.Ceil(seconds / 60)) }

// TestSizingTableIsCurrent compares the sizing table with the measured figures and the
// assumptions.
func TestSizingTableIsCurrent(t *testing.T) {
	const page = "many-machines.md"
	var b strings.Builder
	b.WriteString("<!-- sizing -->\n\n| rows |")
	for _, s := range sizings {
		b.WriteString(" " + humanize.SI(s.rows, "") + " |")
		if s.splits(gzipRow) > maxSplits || s.shards() > 4096 || s.rows*record/s.shards() > maxShard {
			t.Errorf("%v exceeds a limit", s)
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(sizings)) + "\n")
	for _, row := range sizingRows {
		b.WriteString("| " + row.name + " |")
		for _, s := range sizings {
			b.WriteString(" " + row.cell(s) + " |")
		}
		b.WriteString("\n")
	}
	b.WriteString("\n<!-- end -->\n")
	text := read(t, page)
	if !sizingTable.MatchString(text) {
		t.Fatalf("%s has no sizing table", page)
	}
	current := sizingTable.ReplaceAllLiteralString(text, b.String())
	if current == text {
		return
	}
	if !*update {
		t.Fatalf("the sizing table of %s is stale; run make golden", page)
	}
	if err := os.WriteFile(page, []byte(current), 0o644); err != nil {
		t.Fatal(err)
	}
}

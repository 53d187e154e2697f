package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/gentest"
)

// The summary file tells what the summary of the build tells.
func TestBuildWritesSummaryFile(t *testing.T) {
	dir := t.TempDir()
	row := func(i int) string {
		return fmt.Sprintf("%08x-0000-0000-0000-000000000000,%d.5,2018-08-04 05:32:31\n", i, i)
	}
	opts := Options{Dir: dir, Source: generation.SourceCommand, Program: "v1.2.3", MaxBadRows: 100, Guards: Guards{MaxAdded: 1000}}
	for i := range 30 {
		text := row(i) + row(1000) + "bad row\x00\xff\n"
		in := StreamInput(fmt.Sprintf("part %d", i), strings.NewReader(text))
		in.Size = int64(len(text))
		opts.Inputs = append(opts.Inputs, in)
	}
	before := time.Now().Add(-time.Millisecond)
	built, err := buildWith(t.Context(), inMemory, opts)
	gentest.Must(t, err)
	id, err := generation.ParseID(built.Generation)
	gentest.Must(t, err)
	s, err := generation.ReadSummary(dir, id)
	gentest.Must(t, err)
	if s.Source != generation.SourceCommand || s.Program != "v1.2.3" || s.NumInputs != 30 || len(s.Inputs) != 20 || s.Inputs[19] != (generation.SummaryInput{Name: "part 19", Size: opts.Inputs[19].Size}) {
		t.Errorf("inputs: %+v", s)
	}
	if s.Rows != 90 || s.Records != 31 || s.Duplicates != 29 || s.BadRows != 30 || s.Comparison != nil {
		t.Errorf("numbers: %+v", s)
	}
	if s.Started.Before(before) || s.Started.After(time.Now()) || s.Seconds < 0 || s.Seconds > built.Seconds+0.001 {
		t.Errorf("started %v, took %v s of %v s", s.Started, s.Seconds, built.Seconds)
	}
	if len(s.Bad) != len(built.Bad) || len(s.Bad) != 20 {
		t.Fatalf("%d bad rows, want %d", len(s.Bad), len(built.Bad))
	}
	for i, r := range s.Bad {
		want := built.Bad[i]
		if r.File != want.Input || r.Line != 3 || r.Column != want.Column || r.Reason != want.Reason || r.Row != "bad row\x00\ufffd" {
			t.Errorf("bad row %+v, want %v", r, want)
		}
	}

	// A second build compares with the first.
	opts.Inputs = []Input{StreamInput("-", strings.NewReader(row(0)+row(40)))}
	built, err = buildWith(t.Context(), inMemory, opts)
	gentest.Must(t, err)
	if id, err = generation.ParseID(built.Generation); err != nil {
		t.Fatal(err)
	}
	s, err = generation.ReadSummary(dir, id)
	want := &generation.SummaryComparison{Live: built.Comparison.Live, LiveRecords: 31, Added: 1, Removed: 30, Unchanged: 1}
	if err != nil || s.Comparison == nil || *s.Comparison != *want {
		t.Errorf("comparison %+v, %v; want %+v", s.Comparison, err, want)
	}
}

// A build without a source, such as that of a library, writes no summary file.
func TestBuildWithoutSourceWritesNoSummaryFile(t *testing.T) {
	dir := t.TempDir()
	mustBuild(t, inMemory, Options{Dir: dir, Inputs: []Input{StreamInput("-", strings.NewReader("00000000-0000-0000-0000-000000000000,1,2018-08-04 05:32:31\n"))}})
	if _, err := generation.ReadSummary(dir, testGeneration); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

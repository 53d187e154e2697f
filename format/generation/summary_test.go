package generation_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"promostore/format/generation"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

// aSummary returns a summary with all fields.
func aSummary() generation.Summary {
	return generation.Summary{
		Program: "v1.2.3", Source: generation.SourceCommand,
		Inputs: []generation.SummaryInput{{Name: "promotions.csv", Size: 1000}, {Name: "-"}}, NumInputs: 2,
		Started: time.Date(2026, 11, 27, 9, 30, 0, 0, time.UTC), Seconds: 1.5,
		Rows: 10, Records: 7, Duplicates: 1, BadRows: 2,
		Bad:        []generation.SummaryBadRow{{File: "promotions.csv", Line: 3, Column: 4, Reason: "price: no digits", Row: "<script>\x1b[31m"}},
		Comparison: &generation.SummaryComparison{Live: generation.ID(1).String(), LiveRecords: 9, Added: 1, Removed: 3, Changed: 2, Unchanged: 4},
	}
}

// exists reports whether dir has a file of that name.
func exists(t *testing.T, dir, name string) bool {
	t.Helper()
	_, err := os.Lstat(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// publishWith publishes a generation with a summary and returns its ID.
func publishWith(t *testing.T, dir string, s generation.Summary) generation.ID {
	t.Helper()
	w := openWriter(t, dir)
	defer w.Close()
	p := create(t, w, now)
	p.Summary = &s
	gentest.Must(t, p.Publish())
	return generation.IDOf(now)
}

func TestSummaryName(t *testing.T) {
	const want = "promotions-20261122T103000123Z.summary.json"
	id, err := generation.ParseID("20261122T103000123Z")
	gentest.Must(t, err)
	if got := generation.SummaryName(id); got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	if got, err := generation.ParseSummaryName(want); err != nil || got != id {
		t.Errorf("ID %v, %v", got, err)
	}
	for _, name := range []string{
		"", "." + want, want + "x", want + ".tmp", strings.ToUpper(want), "x" + want,
		"promotions-20261122T103000123Z.json", "promotions-.summary.json", "promotions-20261322T103000123Z.summary.json",
		"promotions-20261122T103000123Z-00000-of-00001.summary.json", "promotions-20261122T103000123Z-00000-of-00001.pgen",
	} {
		if id, err := generation.ParseSummaryName(name); !errors.Is(err, generation.ErrName) {
			t.Errorf("%q: %v, %v", name, id, err)
		}
	}
}

func TestPublishWritesSummary(t *testing.T) {
	dir := t.TempDir()
	want := aSummary()
	id := publishWith(t, dir, want)
	want.Version, want.Generation = 1, id.String()
	if got, err := generation.ReadSummary(dir, id); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("summary %+v, %v; want %+v", got, err, want)
	}
	info, err := os.Stat(filepath.Join(dir, generation.SummaryName(id)))
	gentest.Must(t, err)
	file, err := os.Stat(gentest.Path(dir, id))
	gentest.Must(t, err)
	if info.Mode() != file.Mode() || info.Mode().Perm()&^0o644 != 0 {
		t.Errorf("permissions %v, of the generation %v", info.Mode(), file.Mode())
	}
	if list, err := generation.List(dir); err != nil || len(list) != 1 || len(list[0].Files) != 1 {
		t.Errorf("List: %v, %v", list, err)
	}
}

// A summary that cannot be written does not keep the generation from servers.
func TestPublishWithoutRoomForSummary(t *testing.T) {
	dir := t.TempDir()
	obstacle := filepath.Join(dir, generation.SummaryName(generation.IDOf(now)))
	gentest.Must(t, os.MkdirAll(filepath.Join(obstacle, "x"), 0o755))
	id := publishWith(t, dir, aSummary())
	if ids := complete(t, dir); len(ids) != 1 || ids[0] != id {
		t.Errorf("generations %v", ids)
	}
	openWriter(t, dir).Close()
	wantNames(t, dir, filepath.Base(obstacle), generation.Name{ID: id, Shards: 1}.String())
}

// An error of Publish leaves no summary.
func TestFailedPublishLeavesNoSummary(t *testing.T) {
	dir := t.TempDir()
	obstacle := generation.Name{ID: generation.IDOf(now), Shards: 1}.String()
	gentest.Must(t, os.Mkdir(filepath.Join(dir, obstacle), 0o755))
	w := openWriter(t, dir)
	defer w.Close()
	p := create(t, w, now)
	s := aSummary()
	p.Summary = &s
	if err := p.Publish(); err == nil {
		t.Error("no error")
	}
	wantNames(t, dir, obstacle)
}

// OpenWriter removes summaries without any file of their generation, and no other
// file that looks like one.
func TestOpenWriterRemovesOrphanSummaries(t *testing.T) {
	dir := t.TempDir()
	const gone, incomplete, whole = generation.ID(1), generation.ID(2), generation.ID(3)
	kept := []string{
		generation.Name{ID: incomplete, Shard: 7, Shards: 16}.String(), generation.SummaryName(incomplete),
		generation.Name{ID: whole, Shards: 1}.String(), generation.SummaryName(whole),
		"x.summary.json", "promotions-x.summary.json", "." + generation.SummaryName(gone), generation.SummaryName(gone) + ".tmp",
	}
	touch(t, dir, kept...)
	touch(t, dir, generation.SummaryName(gone), "."+generation.SummaryName(gone)+".tmp", "."+generation.SummaryName(whole)+".tmp")
	openWriter(t, dir).Close()
	wantNames(t, dir, kept...)
}

// A summary, or a part of one, that cannot be removed prevents no build.
func TestOpenWriterLeavesSummariesItCannotRemove(t *testing.T) {
	dir := t.TempDir()
	const gone = generation.ID(1)
	part := "." + generation.SummaryName(gone) + ".tmp"
	gentest.Must(t, os.MkdirAll(filepath.Join(dir, part, "x"), 0o755))
	gentest.Must(t, os.MkdirAll(filepath.Join(dir, generation.SummaryName(gone), "x"), 0o755))
	openWriter(t, dir).Close()
	wantNames(t, dir, part, generation.SummaryName(gone))
}

// Two generations of one ID share their summary, which goes with the last.
func TestPruneRemovesSummaries(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	defer w.Close()
	const pinned, old, newest = generation.ID(1), generation.ID(2), generation.ID(3)
	kept := []string{
		generation.PinName,
		generation.Name{ID: pinned, Shards: 1}.String(), generation.SummaryName(pinned),
		generation.Name{ID: newest, Shards: 1}.String(), generation.SummaryName(newest),
	}
	touch(t, dir, kept[1:]...)
	touch(t, dir, append(shardNames(old), generation.Name{ID: old, Shards: 1}.String(), generation.SummaryName(old))...)
	gentest.Must(t, generation.SetPin(dir, generation.Pin{Active: true, ID: pinned}))
	opts := generation.PruneOptions{Keep: 1, Check: func(generation.Generation) error { return nil }, DryRun: true}
	_, err := w.Prune(t.Context(), opts)
	gentest.Must(t, err)
	if !exists(t, dir, generation.SummaryName(old)) {
		t.Error("a dry run removes a summary")
	}
	opts.DryRun = false
	_, err = w.Prune(t.Context(), opts)
	gentest.Must(t, err)
	wantNames(t, dir, kept...)
}

func TestReadSummaryErrors(t *testing.T) {
	dir := t.TempDir()
	const id = generation.ID(1)
	if _, err := generation.ReadSummary(dir, id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	path := filepath.Join(dir, generation.SummaryName(id))
	gentest.Must(t, os.Mkdir(path, 0o755))
	if _, err := generation.ReadSummary(dir, id); err == nil {
		t.Error("directory: no error")
	}
	gentest.Must(t, os.Remove(path))
	gentest.Must(t, os.WriteFile(path, bytes.Repeat([]byte(" "), 64<<10+1), 0o644))
	if _, err := generation.ReadSummary(dir, id); err == nil {
		t.Error("too long: no error")
	}
}

func TestParseSummaryRejects(t *testing.T) {
	const id = generation.ID(1)
	valid := aSummary()
	valid.Version, valid.Generation = 1, id.String()
	for name, change := range map[string]func(s *generation.Summary){
		"version":             func(s *generation.Summary) { s.Version = 2 },
		"no version":          func(s *generation.Summary) { s.Version = 0 },
		"other generation":    func(s *generation.Summary) { s.Generation = generation.ID(2).String() },
		"source":              func(s *generation.Summary) { s.Source = "other" },
		"rows":                func(s *generation.Summary) { s.Rows++ },
		"negative records":    func(s *generation.Summary) { s.Records, s.BadRows = -1, s.BadRows+s.Records+1 },
		"overflow":            func(s *generation.Summary) { s.Records, s.Duplicates = math.MaxInt64, math.MaxInt64 },
		"negative seconds":    func(s *generation.Summary) { s.Seconds = -1 },
		"number of inputs":    func(s *generation.Summary) { s.NumInputs = 1 },
		"size of an input":    func(s *generation.Summary) { s.Inputs[0].Size = -1 },
		"long name":           func(s *generation.Summary) { s.Inputs[0].Name = strings.Repeat("x", 257) },
		"long program":        func(s *generation.Summary) { s.Program = strings.Repeat("x", 257) },
		"long row":            func(s *generation.Summary) { s.Bad[0].Row = strings.Repeat("x", 257) },
		"line of a row":       func(s *generation.Summary) { s.Bad[0].Line = 0 },
		"column of a row":     func(s *generation.Summary) { s.Bad[0].Column = -1 },
		"more rows than said": func(s *generation.Summary) { s.Rows, s.BadRows = 8, 0 },
		"live generation":     func(s *generation.Summary) { s.Comparison.Live = "x" },
		"compared records":    func(s *generation.Summary) { s.Comparison.Removed = -1 },
	} {
		s := valid
		s.Inputs = append([]generation.SummaryInput{}, s.Inputs...)
		s.Bad = append([]generation.SummaryBadRow{}, s.Bad...)
		c := *s.Comparison
		s.Comparison = &c
		change(&s)
		text, err := json.Marshal(s)
		gentest.Must(t, err)
		if _, err := generation.ParseSummary(text, id); !errors.Is(err, generation.ErrSummary) {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := json.Marshal(valid)
	gentest.Must(t, err)
	for _, bad := range []string{"", "null", "[]", "{}", string(text) + "x", string(text[:len(text)-1]), strings.Replace(string(text), "v1", "v\xff", 1), strings.Replace(string(text), "09:30:00Z", "09:30:00+24:00", 1)} {
		if _, err := generation.ParseSummary([]byte(bad), id); !errors.Is(err, generation.ErrSummary) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if _, err := generation.ParseSummary([]byte(`{"later":[1],`+string(text[1:])), id); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

// Whatever the inputs contain, the file is not too long, and ParseSummary accepts it.
func TestSummaryOfAnyInputs(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.Custom(func(t *rapid.T) string {
			if rapid.Bool().Draw(t, "long") {
				return strings.Repeat(rapid.SampledFrom([]string{"\x00", "\xff", "\u2028", "<", "\"", "a", "\U0001f600"}).Draw(t, "character"), rapid.IntRange(0, 400).Draw(t, "length"))
			}
			return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		})
		s := generation.Summary{Program: text.Draw(t, "program"), Source: generation.SourceUpload, NumInputs: rapid.IntRange(0, 1000).Draw(t, "inputs")}
		for range rapid.IntRange(0, 30).Draw(t, "listed inputs") {
			s.Inputs = append(s.Inputs, generation.SummaryInput{Name: text.Draw(t, "name"), Size: rapid.Int64Range(0, math.MaxInt64).Draw(t, "size")})
		}
		for range rapid.IntRange(0, 30).Draw(t, "bad rows") {
			s.Bad = append(s.Bad, generation.SummaryBadRow{File: text.Draw(t, "input"), Line: 1, Column: 1, Reason: text.Draw(t, "reason"), Row: text.Draw(t, "row")})
		}
		s.BadRows = int64(len(s.Bad))
		s.Rows = s.BadRows
		const id = generation.ID(1)
		if err := generation.WriteSummary(dir, id, s); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, generation.SummaryName(id)))
		if err != nil || len(raw) > 64<<10 || !utf8.Valid(raw) {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
		got, err := generation.ReadSummary(dir, id)
		if err != nil || got.BadRows != s.BadRows || len(got.Inputs) == 0 && len(s.Inputs) > 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func FuzzParseSummary(f *testing.F) {
	const id = generation.ID(1)
	s := aSummary()
	s.Version, s.Generation = 1, id.String()
	text, err := json.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(fmt.Sprintf(`{"version":1,"generation":%q,"source":"inbox","seconds":1e999}`, id)))
	f.Add(bytes.Replace(text, []byte("09:30:00Z"), []byte("09:30:00+24:00"), 1))
	f.Add([]byte(`{"inputs":[{}],"bad":[{"line":-1}],"rows":-9223372036854775808}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := generation.ParseSummary(text, id)
		if err != nil {
			if !errors.Is(err, generation.ErrSummary) {
				t.Errorf("error %v", err)
			}
			return
		}
		// A summary that is accepted can be written and read again.
		dir := t.TempDir()
		gentest.Must(t, generation.WriteSummary(dir, id, s))
		if again, err := generation.ReadSummary(dir, id); err != nil || again.Records != s.Records || again.Generation != s.Generation {
			t.Errorf("%+v, %v; want %+v", again, err, s)
		}
	})
}

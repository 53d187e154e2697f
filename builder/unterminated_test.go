package builder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/internal/synth"
)

// An input that is cut within the zone of its last row has a bad row, at every
// length. One that is cut elsewhere, and one that only lacks its line end, does
// not have more or fewer bad rows than before.
func TestCutInZoneIsBadRow(t *testing.T) {
	first := "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31"
	for name, tc := range map[string]struct {
		zone      string
		good      []string // ends of the last row that are complete zones
		afterRows bool     // other rows show the whole zone
	}{
		"other rows":             {" +0200 CEST", []string{" +0200 CEST"}, true},
		"other rows, suffix":     {".000000+02", []string{".000000+02"}, true},
		"other rows, no zone":    {"", []string{""}, true},
		"no other row":           {" +0200 CEST", []string{"", " +0200", " +0200 CEST"}, false},
		"no other row, CET":      {" +0100 CET", []string{"", " +0100", " +0100 CET"}, false},
		"no other row, no known": {" +0300 МСК", []string{"", " +0300", " +0300 М", " +0300 МС", " +0300 МСК"}, false},
	} {
		row := first + tc.zone
		for n := len(first); n <= len(row); n++ {
			end := row[len(first):n]
			good := false
			for _, g := range tc.good {
				good = good || g == end
			}
			if end != "" && end[len(end)-1] >= 0x80 && !good {
				continue // within a character
			}
			data := row[:n]
			if tc.afterRows {
				data = strings.Repeat(row+"\n", 100) + data
			}
			for _, s := range []sizes{inMemory, tiny} {
				sum, err := buildWith(t.Context(), s, Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir()})
				var bad *BadRowsError
				switch {
				case good && (err != nil || !sum.Unterminated || len(sum.UnterminatedInputs) != 1):
					t.Errorf("%s: %q: %+v, error %v", name, end, sum, err)
				case !good && (!errors.As(err, &bad) || bad.Count != 1 || !strings.Contains(bad.Rows[0].Reason, "without a line end") || bad.Rows[0].Text != row[:n]):
					t.Errorf("%s: %q: error %v", name, end, err)
				}
			}
		}
	}
}

// A style that other rows have, or a quoted date, is no cut.
func TestCompleteRowWithoutLineEndIsGood(t *testing.T) {
	const whole = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31 +0200 CEST\n"
	const short = "172ffc14-d229-4c93-b06b-f48b8c095511,9.68,2018-08-04 05:32:31 +0200"
	const quoted = `172ffc14-d229-4c93-b06b-f48b8c095511,9.68,"2018-08-04 05:32:31 +0200"`
	for _, data := range []string{whole + short + "\n" + whole + short, whole + quoted, whole + quoted + "\r", short, "\xef\xbb\xbf" + short} {
		sum, _ := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", []byte(data))}})
		if !sum.Unterminated || sum.BadRows != 0 {
			t.Errorf("%q: %+v", data, sum)
		}
	}
	_, err := Build(t.Context(), Options{Inputs: []Input{stream("a", []byte(whole+short)), stream("b", []byte(short+"\n"))}, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.As(err, new(*BadRowsError)) {
		t.Errorf("rows of a later input: error %v", err)
	}
}

// The summary marks inputs whose last row has no line end, and
// Options.RequireFinalNewline refuses them.
func TestUnterminatedInputIsMarked(t *testing.T) {
	row := strings.TrimSuffix(testRow(1), "\n")
	for kind, pack := range compressors(t) {
		for _, tc := range []struct {
			parts []string
			want  bool
		}{
			{[]string{row}, true}, {[]string{row + "\n"}, false}, {[]string{row + "\r\n"}, false}, {[]string{row + "\r"}, true},
			{[]string{row + "\n", ""}, false}, {[]string{row + "\n", row}, true}, {[]string{row, "\n"}, false},
			{[]string{strings.Repeat(row+"\n", 5000) + "x" + strings.Repeat("y", 300_000)}, true},
			{[]string{header + row + "\n", strings.TrimSuffix(header, "\n")}, true},
		} {
			data := strings.Join(tc.parts, "")
			packed := ""
			for _, part := range tc.parts {
				packed += pack(part)
			}
			for _, in := range []string{data, packed} {
				for _, s := range []sizes{inMemory, tiny} {
					opts := Options{Inputs: []Input{stream("a", []byte(testRow(2))), stream("b", []byte(in)), stream("c", []byte(testRow(3)))}, Dir: t.TempDir(), MaxBadRows: 1}
					sum, err := buildWith(t.Context(), s, opts)
					if err != nil || sum.Unterminated != tc.want || fmt.Sprint(sum.UnterminatedInputs) != map[bool]string{true: "[b]", false: "[]"}[tc.want] {
						t.Errorf("%s %.80q: %+v, error %v", kind, data, sum, err)
					}
					opts.Inputs = []Input{stream("b", []byte(in))}
					opts.RequireFinalNewline = true
					if _, err := buildWith(t.Context(), s, opts); errors.Is(err, ErrUnterminated) != tc.want {
						t.Errorf("%s %.80q: error %v, want %v: %t", kind, data, err, ErrUnterminated, tc.want)
					}
				}
			}
		}
	}
}

// A file that is written or truncated during the build fails it. Replacing the
// file does not: the build reads the old one to its end.
func TestFileThatChangesDuringBuildFails(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 10_000})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	for name, tc := range map[string]struct {
		change func(path string)
		want   string // in the error; empty: none
	}{
		"appended": {func(path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(err)
			_, err = f.WriteString("x")
			must(errors.Join(err, f.Close()))
		}, fmt.Sprintf("changed during the build: %s bytes when it was opened, %s bytes now", humanize.Comma(int64(len(data))), humanize.Comma(int64(len(data)+1)))},
		"truncated": {func(path string) { must(os.Truncate(path, 100)) }, "100 bytes now"},
		"rewritten": {func(path string) { must(os.WriteFile(path, bytes.ToUpper(data), 0)) }, "written during the build"},
		"replaced":  {func(path string) { must(os.WriteFile(path+".new", nil, 0o600)); must(os.Rename(path+".new", path)) }, ""},
		"removed":   {func(path string) { must(os.Remove(path)) }, ""},
		"chmod":     {func(path string) { must(os.Chmod(path, 0o400)) }, ""},
	} {
		for _, phase := range []Phase{PhaseRead, PhaseSort} {
			path := filepath.Join(t.TempDir(), "in.csv")
			must(os.WriteFile(path, data, 0o600))
			must(os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour))) // so that every write changes the time
			done := false
			_, err := Build(t.Context(), Options{
				Inputs: []Input{FileInput(path)}, Dir: t.TempDir(), Memory: MinMemory, Workers: 1,
				Observe: func(s Status) {
					if s.Phase == phase && !done && (s.Rows > 0 || phase != PhaseRead) {
						done = true
						tc.change(path)
					}
				},
			})
			var changed *ChangedError
			if got := errors.As(err, &changed); got != (tc.want != "") || got && !strings.Contains(err.Error(), tc.want) || !got && err != nil {
				t.Errorf("%s in phase %s: error %v", name, phase, err)
			}
		}
	}
}

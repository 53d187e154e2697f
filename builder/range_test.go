package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
)

// rowStart returns the offset of the first row that begins at off or later.
func rowStart(data []byte, off int) int {
	if off == 0 {
		return 0
	}
	i := bytes.IndexByte(data[off-1:], '\n')
	if i < 0 {
		return len(data)
	}
	return off + i
}

// fileObject returns data as an object of a directory.
func fileObject(t rapid.TB, dir string, data []byte) (objects.Store, objects.Object) {
	t.Helper()
	path := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return objectOf(t, path)
}

// drawCuts draws increasing offsets from 0 to n. No other one is below first.
func drawCuts(t *rapid.T, first, n int) []int {
	cuts := []int{0}
	if first < n {
		cuts = append(cuts, rapid.SliceOfN(rapid.IntRange(first, n), 0, 5).Draw(t, "cuts")...)
	}
	slices.Sort(cuts)
	return append(cuts, n)
}

// A range has the bytes from its first row to the end of its last one, whatever the
// parts are, and LinesBefore counts the lines before them.
func TestRangeHasTheRowsThatBeginInIt(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.StringMatching(`([a-c]{0,30}\r?\n){0,3}`)).Draw(t, "lines")
		data := []byte(strings.Join(lines, "") + rapid.StringMatching(`a{0,20}`).Draw(t, "rest"))
		s, o := fileObject(t, dir, data)
		cuts := drawCuts(t, 0, len(data))
		parts := objectParts{rapid.IntRange(1, 3).Draw(t, "parts"), rapid.IntRange(1, 40).Draw(t, "length")}
		for i, to := range cuts[1:] {
			from := cuts[i]
			r, err := (&object{s, o, int64(from), int64(to)}).open(t.Context(), parts)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := r.Read(nil); n != 0 || err != nil {
				t.Fatalf("a read of no bytes returns %d, %v", n, err)
			}
			got := make([]byte, len(data)+1)
			n, _, err := readFull(r, got)
			if err = errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			begin, end := rowStart(data, from), rowStart(data, to)
			if !bytes.Equal(got[:n], data[begin:end]) {
				t.Fatalf("[%d, %d): %q, want %q", from, to, got[:n], data[begin:end])
			}
			before, err := LinesBefore(t.Context(), s, o, int64(from))
			if want := bytes.Count(data[:begin], []byte{'\n'}); err != nil || before != int64(want) {
				t.Fatalf("%d lines before %d, want %d; error %v", before, from, want, err)
			}
		}
	})
}

// drawNasty draws a CSV with good and bad rows, in which some rows repeat an id.
// The first three of styles are frequent.
func drawNasty(t *rapid.T) []byte {
	styles := []string{" +0200 CEST", "", " +0200", "Z", " UTC", ".000000+02", " +0300 MSK", "+0530", ".5"}
	var b bytes.Buffer
	b.WriteString(rapid.SampledFrom([]string{"", "\xef\xbb\xbf", "\r\n\n", "\xef\xbb\xbf\n", "sep=,\n"}).Draw(t, "start"))
	b.WriteString(rapid.SampledFrom([]string{"", "id,price,expiration_date\n", "ID,\"Price\",Expiration_Date\r\n"}).Draw(t, "header"))
	for i := range rapid.IntRange(0, 60).Draw(t, "rows") {
		style := styles[rapid.IntRange(0, 2).Draw(t, "style")]
		if rapid.IntRange(0, 19).Draw(t, "rare") == 0 {
			style = rapid.SampledFrom(styles).Draw(t, "rare style")
		}
		row := fmt.Sprintf("%08x-0000-4000-8000-000000000000,%d.%d,2018-06-04 06:01:%02d%s", rapid.IntRange(0, 20).Draw(t, "id"), i, i%7, i%60, style)
		switch rapid.IntRange(0, 15).Draw(t, "kind") {
		case 0:
			row = rapid.SampledFrom([]string{
				"bad", "sep=;", "#TYPE x", "(3 rows)", `\.`, "id,price,expiration_date", "\xef\xbb\xbf" + row,
				"\x1f\x8b\x08\x00", "PK\x03\x04", "\x28\xb5\x2f\xfd", " ", ",,", "\r\r", "\x00\x00", strings.ReplaceAll(row, ",", ";"),
			}).Draw(t, "bad")
		case 1:
			row = strings.Replace(row, ",", ",\"1\n2\",", 1)
		case 2:
			row = strings.Repeat(rapid.SampledFrom([]string{"x", row}).Draw(t, "long"), rapid.IntRange(3, 600).Draw(t, "times"))
		case 3:
			row = `"` + strings.ReplaceAll(row, ",", `","`) + `"`
		}
		b.WriteString(row + rapid.SampledFrom([]string{"\n", "\n", "\n", "\r\n", "\n\n", "\r\n\r\n"}).Draw(t, "end"))
	}
	data := b.Bytes()
	if len(data) > 0 && rapid.Bool().Draw(t, "unterminated") {
		data = bytes.TrimRight(data, "\r\n")
		data = data[:max(0, len(data)-max(0, rapid.IntRange(-30, 30).Draw(t, "cut")))]
	}
	return data
}

// An outcome is the sum of the summaries of builds of parts of a data set.
type outcome struct {
	rows         int64
	badRows      int64
	bad          []BadRow // at most 20
	lines        int64
	unterminated bool
}

// add adds a build whose inputs follow the ones so far.
func (o *outcome) add(sum Summary) {
	o.rows += sum.Rows
	o.badRows += sum.BadRows
	o.unterminated = o.unterminated || sum.Unterminated
	for i, n := range sum.Lines {
		for _, bad := range sum.Bad {
			if bad.Index == i && len(o.bad) < maxShown {
				bad.Index, bad.Line = 0, bad.Line+o.lines
				o.bad = append(o.bad, bad)
			}
		}
		o.lines += n
	}
}

// Builds of ranges, together, have the bad rows, the lines and the numbers of one
// build of the whole object, and their merged files have its bytes. One build of all
// ranges writes the same bytes too.
func TestRangesMatchOneBuild(t *testing.T) {
	dir := t.TempDir()
	unclear := 0
	rapid.Check(t, func(t *rapid.T) {
		data := drawNasty(t)
		store, object := fileObject(t, dir, data)
		size := sizes{chunk: 256, sort: tiny.sort, part: rapid.IntRange(20, 400).Draw(t, "part")}
		policy := rapid.SampledFrom([]Duplicates{KeepLast, KeepFirst}).Draw(t, "duplicates")
		build := func(continued bool, inputs ...Input) (Summary, error) {
			data, err := os.MkdirTemp(dir, "data")
			if err != nil {
				t.Fatal(err)
			}
			return buildWith(t.Context(), size, Options{
				Inputs: inputs, Dir: data, Generation: testGeneration, Workers: rapid.IntRange(1, 3).Draw(t, "workers"),
				Duplicates: policy, MaxBadRows: 1000, Guards: Guards{AllowEmpty: true}, Continued: continued,
			})
		}
		cuts := drawCuts(t, size.chunk, len(data))
		var ranges []Input
		for i, to := range cuts[1:] {
			ranges = append(ranges, RangeInput(store, object, int64(cuts[i]), int64(to)))
		}
		whole, err := build(false, ObjectInput(store, object))
		if err != nil { // not a CSV
			if _, rangeErr := build(false, ranges[0]); rangeErr == nil {
				t.Fatalf("the first range is built, but the whole: %v", err)
			}
			return
		}
		var want outcome
		want.add(whole)

		all, err := build(false, ranges...)
		if err != nil {
			t.Fatal(err)
		}
		var got outcome
		got.add(all)
		compareOutcomes(t, got, want)
		sameFile(t, all.File, whole.File)
		if all.InputBytes != int64(len(data)) {
			t.Fatalf("read %d bytes, want %d", all.InputBytes, len(data))
		}

		got = outcome{}
		var runs []string
		for i, in := range ranges {
			sum, err := build(i > 0, in)
			if errors.As(err, new(*LastRowError)) && i > 0 && data[len(data)-1] != '\n' {
				unclear++
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.add(sum)
			runs = append(runs, sum.File)
		}
		compareOutcomes(t, got, want)
		merged := runs[0] + ".merged"
		if _, err := mergeWith(t.Context(), tiny.sort, MergeOptions{Runs: runs, Out: merged, Duplicates: policy}); err != nil {
			t.Fatal(err)
		}
		sameFile(t, merged, whole.File)
	})
	t.Logf("%d last rows were unclear", unclear)
}

func compareOutcomes(t *rapid.T, got, want outcome) {
	t.Helper()
	if got.rows != want.rows || got.badRows != want.badRows || got.lines != want.lines || got.unterminated != want.unterminated {
		t.Fatalf("%d rows, %d bad, %d lines, unterminated %t; want %d, %d, %d, %t",
			got.rows, got.badRows, got.lines, got.unterminated, want.rows, want.badRows, want.lines, want.unterminated)
	}
	if !slices.Equal(got.bad, want.bad) {
		t.Fatalf("bad rows\n%v\nwant\n%v", got.bad, want.bad)
	}
}

func sameFile(t rapid.TB, a, b string) {
	t.Helper()
	if !bytes.Equal(readFile(t, a), readFile(t, b)) {
		t.Fatalf("%s and %s differ", a, b)
	}
}

// longRows returns rows of which some are much longer than the longest row that a
// build accepts and than the first request after the end of a range.
func longRows(t *testing.T) []byte {
	rows := csvOf(t, synth.DataSet{Rows: 6000})
	var b bytes.Buffer
	for i, part := range cut(rows, 4) {
		b.Write(part)
		b.WriteString(strings.Repeat("x", 200_000<<i) + "\r\n")
	}
	return b.Bytes()
}

// Ranges that begin or end within rows of 200 kB to 1.6 MB match one build, with the
// usual sizes.
func TestRangesOfLongRows(t *testing.T) {
	data := longRows(t)
	store, object := fileObject(t, t.TempDir(), data)
	opts := Options{Inputs: []Input{ObjectInput(store, object)}, MaxBadRows: 4}
	whole, want := mustBuild(t, inMemory, opts)
	if whole.BadRows != 4 || len(whole.Bad) != 4 || len(whole.Bad[3].Text) != maxText {
		t.Fatalf("%+v", whole)
	}
	for _, step := range []int64{300_000, 777_777, 2_000_000} {
		opts.Inputs = nil
		for from := int64(0); from < object.Size; from += step {
			opts.Inputs = append(opts.Inputs, RangeInput(store, object, from, from+step))
		}
		sum, got := mustBuild(t, inMemory, opts)
		if !bytes.Equal(got, want) || sum.InputBytes != object.Size {
			t.Errorf("step %d: other bytes; %+v", step, sum)
		}
		lines := int64(0)
		for _, n := range sum.Lines {
			lines += n
		}
		if lines != whole.Lines[0] {
			t.Errorf("step %d: %d lines, want %d", step, lines, whole.Lines[0])
		}
	}
}

// Ranges are read from a server that cuts connections and refuses requests. They
// request little more than their bytes.
func TestRangesFromUnreliableServer(t *testing.T) {
	server := objecttest.New(t)
	server.Setenv(t)
	store, _, err := objects.Parse("s3://"+objecttest.Bucket, server.Options())
	if err != nil {
		t.Fatal(err)
	}
	data := longRows(t)
	if _, err := store.Put(t.Context(), "in.csv", bytes.NewReader(data), int64(len(data)), objects.Always); err != nil {
		t.Fatal(err)
	}
	r, err := store.Open(t.Context(), "in.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o := r.Object()
	_, want := mustBuild(t, inMemory, Options{Inputs: []Input{stream("in", data)}, MaxBadRows: 4})

	var requested atomic.Int64
	count := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		var lo, hi int64
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &lo, &hi); n == 2 {
			requested.Add(hi - lo + 1)
		}
		next.ServeHTTP(w, r)
	}
	server.Fail(count)
	// read reads a range, and returns the number of bytes that follow it, in its last
	// row.
	read := func(from, to int64) (rest int64) {
		t.Helper()
		requested.Store(0)
		f, err := (&object{store, o, from, to}).open(t.Context(), objectParts{8, 100_000})
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(data))
		n, _, err := readFull(f, buf)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		begin, end := rowStart(data, int(from)), rowStart(data, int(to))
		if !bytes.Equal(buf[:n], data[begin:end]) {
			t.Errorf("[%d, %d): wrong bytes", from, to)
		}
		return int64(end) - to
	}
	const step = 400_000
	opts := Options{MaxBadRows: 4}
	for from := int64(0); from < o.Size; from += step {
		to := min(from+step, o.Size)
		opts.Inputs = append(opts.Inputs, RangeInput(store, o, from, to))
		rest := read(from, to)
		// The rest of the last row takes requests of at most three times its length.
		if limit := to - from + 1 + minTail + 3*rest; requested.Load() > limit {
			t.Errorf("[%d, %d): %d bytes requested, want at most %d", from, to, requested.Load(), limit)
		}
	}
	first, second := int64(rowStart(data, 1000)), int64(rowStart(data, 9000))
	if read(first, second); requested.Load() != second-first+1 {
		t.Errorf("a range that ends with a row: %d bytes requested, want %d", requested.Load(), second-first+1)
	}

	server.Fail(objecttest.Every(4, objecttest.Gets, objecttest.Cut(10_000)))
	if _, got := mustBuild(t, inMemory, opts); !bytes.Equal(got, want) {
		t.Error("other bytes with cut connections")
	}
	server.Fail(objecttest.Every(4, objecttest.Gets, objecttest.SlowDown()))
	if n, err := LinesBefore(t.Context(), store, o, o.Size-1); err != nil || n != int64(bytes.Count(data, []byte{'\n'})) {
		t.Errorf("%d lines, error %v", n, err)
	}
	server.Fail(nil)
	if _, err := store.Put(t.Context(), "in.csv", bytes.NewReader(data[1:]), int64(len(data)-1), objects.Always); err != nil {
		t.Fatal(err)
	}
	opts.Inputs, opts.Dir = opts.Inputs[3:4], t.TempDir()
	var changed *ChangedError
	if _, err := buildWith(t.Context(), inMemory, opts); !errors.As(err, &changed) || changed.ETag != o.ETag {
		t.Errorf("range of a replaced object: error %v", err)
	}
	if _, err := LinesBefore(t.Context(), store, o, 1); !errors.As(err, &changed) {
		t.Errorf("lines of a replaced object: error %v", err)
	}
}

// A file that changes while a range is read fails the build, and so does one that was
// replaced before.
func TestRangeOfFileThatChangesFailsBuild(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 5000})
	for name, change := range map[string]func(path string) error{
		"written": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("x")
			return errors.Join(err, f.Close())
		},
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", data[1:], 0o600), os.Rename(path+".new", path))
		},
	} {
		dir := t.TempDir()
		store, object := fileObject(t, dir, data)
		var changed *ChangedError
		opts := Options{Inputs: []Input{RangeInput(store, object, 10_000, 200_000)}, Dir: t.TempDir()}
		done := false
		if name == "written" {
			opts.Observe = func(s Status) {
				if s.Rows > 0 && !done {
					done = true
					if err := change(filepath.Join(dir, "in.csv")); err != nil {
						t.Error(err)
					}
				}
			}
		} else if err := change(filepath.Join(dir, "in.csv")); err != nil {
			t.Fatal(err)
		}
		if _, err := buildWith(t.Context(), smallParts(), opts); !errors.As(err, &changed) || changed.Name != store.URL(object.Key) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Only the first range looks for a header row, a byte-order mark, another kind of
// file, compression and a cause of bad rows.
func TestLaterRangeLooksForNoHeader(t *testing.T) {
	const good = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31\n"
	for _, start := range []string{
		"id,price,expiration_date\n", "\xef\xbb\xbf" + good, "PK\x03\x04\n", "\x1f\x8b\x08\x00\n", "{\"a\":1}\n", "a,b,c\n",
		strings.Repeat(strings.ReplaceAll(good, ",", ";"), 30),
	} {
		data := []byte(good + start)
		store, object := fileObject(t, t.TempDir(), data)
		in := RangeInput(store, object, int64(len(good)), object.Size)
		_, err := Build(t.Context(), Options{Inputs: []Input{in}, Dir: t.TempDir(), Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Cause != nil || bad.Stopped || bad.Count != int64(strings.Count(start, "\n")) || bad.Rows[0].Line != 1 {
			t.Errorf("%.20q: error %v", start, err)
		}
	}
	for _, data := range []string{"PK\x03\x04\n" + good, string(pack(t, ".gz", []byte(good)))} {
		store, object := fileObject(t, t.TempDir(), []byte(data))
		in := RangeInput(store, object, 0, object.Size-1)
		_, err := Build(t.Context(), Options{Inputs: []Input{in}, Dir: t.TempDir(), Memory: MinMemory})
		if !errors.As(err, new(*KindError)) {
			t.Errorf("%.20q: error %v", data, err)
		}
	}
}

// A split that fails because of bad rows finds their lines in the whole object.
func TestShiftLinesOfFailedRange(t *testing.T) {
	const good = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31\r\n"
	data := []byte("id,price,expiration_date\n" + strings.Repeat(good, 100) + "\n\nbad 1\n" + strings.Repeat(good, 100) + "bad 2")
	store, object := fileObject(t, t.TempDir(), data)
	_, err := Build(t.Context(), Options{Inputs: []Input{ObjectInput(store, object)}, Dir: t.TempDir(), Memory: MinMemory})
	var want, bad *BadRowsError
	if !errors.As(err, &want) || want.Rows[1].Line != 205 {
		t.Fatalf("error %v", err)
	}
	for from := int64(1); from < object.Size/2; from += 97 {
		in := RangeInput(store, object, from, object.Size)
		_, err := Build(t.Context(), Options{Inputs: []Input{StreamInput("empty", strings.NewReader("\n")), in}, Dir: t.TempDir(), Memory: MinMemory, Continued: true})
		if !errors.As(err, &bad) {
			t.Fatalf("from %d: error %v", from, err)
		}
		lines, err := LinesBefore(t.Context(), store, object, from)
		if err != nil {
			t.Fatal(err)
		}
		bad.ShiftLines(0, 1000)
		bad.ShiftLines(1, lines)
		if bad.Error() != want.Error() {
			t.Fatalf("from %d:\n%v\nwant\n%v", from, bad, want)
		}
	}
}

// The last row of a later build is unclear only if it is a good row without a line
// end whose style no earlier row of the build has, and which can go on.
func TestLastRowOfContinuedBuild(t *testing.T) {
	const id, day = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,", "2018-08-04 05:32:31"
	const first = id + day + " +0200 CEST\n"
	for _, tc := range []struct {
		data    string
		unclear bool
	}{
		{id + day, true},
		{first + id + day, true},
		{first + id + day + " +0200", true},
		{first + id + day + " +0200 C", true},
		{first + id + day + " +0200\r", true},
		{first + id + day + ".0", true},
		{first + id + day + " +0200 CES\n" + id + day + " +0200 CES", false},
		{first + id + day + " +0200 CEST", false},
		{first + id + day + " +0200\n", false},
		{first + id + `"` + day + `"`, false},
		{first + id + day + "Z", false},
		{first + id + day + " UTC", false},
		{first + id + day + "+02:00", false},
		{first + id + strings.ReplaceAll(day, " ", "T") + "z", false},
		{first + id + day + " +02", false}, // bad
		{first + "x", false},
		{"", false},
	} {
		opts := Options{Inputs: []Input{stream("in", []byte(tc.data))}, Dir: t.TempDir(), Memory: MinMemory, Continued: true, MaxBadRows: 1, Guards: Guards{AllowEmpty: true}}
		_, err := Build(t.Context(), opts)
		var last *LastRowError
		if got := errors.As(err, &last); got != tc.unclear || !got && err != nil {
			t.Errorf("%q: error %v", tc.data, err)
		} else if got && (!strings.HasPrefix(err.Error(), "in: the last row has no line end and may be cut: \"172f") || !strings.Contains(tc.data, last.Text)) {
			t.Errorf("%q: error %q", tc.data, err)
		}
		opts.Continued, opts.Inputs, opts.Dir = false, []Input{stream("in", []byte(tc.data))}, t.TempDir()
		if _, err := Build(t.Context(), opts); err != nil {
			t.Errorf("%q: first build: error %v", tc.data, err)
		}
	}
}

// Too many bad rows are reported rather than an unclear last row, and are counted as
// in any build.
func TestBadRowsBeforeLastRowOfContinuedBuild(t *testing.T) {
	const cut = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31"
	for _, continued := range []bool{false, true} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte("bad\n"+cut+" +0200 CEST\n"+cut))}, Dir: t.TempDir(), Memory: MinMemory, Continued: continued})
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Count != 2 {
			t.Errorf("continued %t: error %v", continued, err)
		}
	}
}

// A style can go on if another one begins with it.
func TestUnclearStylesAreThePrefixesOfOthers(t *testing.T) {
	texts := []string{""}
	for _, fraction := range []string{"", ".0", ".00", ".000000000"} {
		for _, zone := range []string{"", "Z", "z", " Z", " UTC", " GMT", "+02", "+0200", "+02:00", " +0200", " +02:00"} {
			for _, name := range []string{"", " C", " CEST", " é", " +02", " +0200"} {
				texts = append(texts, fraction+zone+name)
			}
		}
	}
	for _, sep := range []byte{' ', 'T'} {
		for _, a := range texts {
			if _, err := format.ParseTimestampStyle(sep, []byte(a)); err != nil {
				continue
			}
			want := slices.ContainsFunc(texts, func(b string) bool {
				_, err := format.ParseTimestampStyle(sep, []byte(b))
				return err == nil && len(b) > len(a) && strings.HasPrefix(b, a)
			})
			var d styleDictionary
			n, err := d.number(styleKey(sep), []byte(a), 1)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.isUnclear(n, 1); got != want && (want || !strings.Contains(a, " C") && !strings.HasSuffix(a, "é")) {
				t.Errorf("%q: %t, want %t", string(sep)+a, got, want)
			}
		}
	}
}

// Summary.Bad has the first 20 bad rows in the order of the inputs, and Lines has
// those of each input, however many are read at the same time.
func TestSummaryListsBadRows(t *testing.T) {
	var parts [][]byte
	var want []string
	for i := range 30 {
		parts = append(parts, []byte(strings.Repeat("\n", i)+testRow(byte(i%10))+fmt.Sprintf("bad %d\n", i)))
		if i < maxShown {
			want = append(want, fmt.Sprintf("%d:%d:bad %d", i, i+2, i))
		}
	}
	for _, exts := range [][]string{{""}, {".gz", ".zst"}} {
		inputs := files(t, t.TempDir(), exts, parts...)
		sum, _ := mustBuild(t, tiny, Options{Inputs: inputs, Workers: 4, Memory: 4 << 30, MaxBadRows: 30})
		var got []string
		for _, b := range sum.Bad {
			got = append(got, fmt.Sprintf("%d:%d:%s", b.Index, b.Line, b.Text))
			if b.Input != inputs[b.Index].Name {
				t.Errorf("bad row %+v", b)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		for i, n := range sum.Lines {
			if n != int64(i)+2 {
				t.Errorf("input %d has %d lines, want %d", i, n, i+2)
			}
		}
	}
}

// A canceled LinesBefore does not wait for a store that does not answer.
func TestCancelLinesBefore(t *testing.T) {
	store, object := fileObject(t, t.TempDir(), []byte("a\nb\n"))
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := LinesBefore(ctx, blockedStore{store, cancel}, object, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

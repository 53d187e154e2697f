package builder

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny makes spills, splits and merges of a few thousand rows.
var tiny = sizes{arena: 1500 * 8 * format.RecordLen, page: 3, chunk: 4 << 10, leaf: 512, direct: 8 << 10}

const testGeneration = generation.ID(1_700_000_000_000)

// mustBuild builds with sizes s and returns the summary and the file.
func mustBuild(t testing.TB, s sizes, opts Options) (Summary, []byte) {
	t.Helper()
	if opts.Dir == "" {
		dir, err := os.MkdirTemp("", "builder")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		opts.Dir = dir
	}
	opts.Memory = max(opts.Memory, MinMemory)
	opts.Generation = testGeneration
	sum, err := (&build{Options: opts, sizes: s}).build(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(sum.File)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(file)) != sum.FileBytes {
		t.Errorf("the file has %d bytes, the summary says %d", len(file), sum.FileBytes)
	}
	if sum.Rows != sum.Records+sum.Duplicates+sum.BadRows {
		t.Errorf("%d rows are not %d records, %d duplicates and %d bad rows", sum.Rows, sum.Records, sum.Duplicates, sum.BadRows)
	}
	return sum, file
}

// dump verifies a file and gives its rows back.
func dump(t rapid.TB, file []byte, comma byte) []string {
	t.Helper()
	r := bytes.NewReader(file)
	x, err := format.Open(r, r.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Verify(r, nil); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for i := range x.Blocks() {
		at := format.BlockOff(i)
		for _, rec := range format.Records(file[at : at+int64(x.RecordsIn(i)*format.RecordLen)]) {
			rows = append(rows, string(rec.AppendCSV(nil, x.Styles, comma)))
		}
	}
	return rows
}

func stream(name string, data []byte) Input { return StreamInput(name, bytes.NewReader(data)) }

// drawRow is a row in one of the accepted spellings.
func drawRow(t *rapid.T, comma string) string {
	var id [36]byte
	for i := range id {
		id[i] = "0123456789abcdef"[rapid.IntRange(0, 15).Draw(t, "digit")]
	}
	if rapid.IntRange(0, 2).Draw(t, "prefix") == 0 {
		copy(id[:], "00000000-0000-0000-0000-0000000000") // ids that meet
	}
	id[8], id[13], id[18], id[23] = '-', '-', '-', '-'
	text := string(id[:])
	if rapid.Bool().Draw(t, "upper") {
		text = strings.ToUpper(text)
	}
	price := rapid.StringMatching(`[+-]?(0{0,3}[0-9]{1,8}(\.[0-9]{0,8})?|\.[0-9]{1,16})`).Draw(t, "price")
	date := rapid.StringMatching(`(000[0-9]|1[0-9]{3}|2018|9999)-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])`).Draw(t, "day")
	clock := rapid.StringMatching(`([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]`).Draw(t, "clock")
	switch rapid.IntRange(0, 5).Draw(t, "layout") {
	case 0, 1:
		date += " " + clock + " +0200 CEST"
	case 2:
		date += " " + clock
	case 3:
		date += " " + clock + rapid.StringMatching(` [+-]([01][0-9]|2[0-3])[0-5][0-9]( ([A-Z]{1,5}|é|[+-][0-9]{2}([0-9]{2})?))?`).Draw(t, "zone")
	case 4:
		date += "T" + clock + "Z"
	case 5:
		date += "T" + clock + rapid.StringMatching(`[+-]([01][0-9]|2[0-3]):[0-5][0-9]`).Draw(t, "zone")
	}
	fields := []string{text, price, date}
	for i := range fields {
		if rapid.IntRange(0, 7).Draw(t, "quoted") == 0 {
			fields[i] = `"` + fields[i] + `"`
		}
	}
	return strings.Join(fields, comma)
}

// Random tables in every accepted spelling, cut into inputs at random and
// built in memory and spilled, come back sorted and canonical.
func TestBuildAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		comma := rapid.SampledFrom([]string{",", ",", ";", "\t", "|"}).Draw(t, "comma")
		rows := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawRow(t, comma) }), 1, 60).Draw(t, "rows")
		var inputs []Input
		want := map[string]string{}
		total := int64(0)
		for len(rows) > 0 {
			n := rapid.IntRange(1, len(rows)).Draw(t, "part")
			var b bytes.Buffer
			if rapid.Bool().Draw(t, "bom") {
				b.WriteString("\xef\xbb\xbf")
			}
			if rapid.Bool().Draw(t, "header") {
				b.WriteString(strings.ReplaceAll("ID,\"Price\",expiration_DATE\n", ",", comma))
			}
			for i, row := range rows[:n] {
				b.WriteString(row)
				if i < n-1 || rapid.Bool().Draw(t, "last") {
					b.WriteString(rapid.SampledFrom([]string{"\n", "\r\n", "\n\n", "\r\n\r\n"}).Draw(t, "end"))
				}
			}
			table, count, bad := oracleTable(b.Bytes(), rune(comma[0]))
			if len(bad) > 0 {
				t.Fatalf("drew a bad row: line %d of %q", bad[0], b.String())
			}
			maps.Copy(want, table)
			total += count
			inputs = append(inputs, stream("part", compress(t, b.Bytes())))
			rows = rows[n:]
		}
		s := tiny
		s.chunk = rapid.IntRange(256, 2048).Draw(t, "chunk")
		dir, err := os.MkdirTemp("", "builder")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		sum, err := (&build{sizes: s, Options: Options{
			Inputs: inputs, Dir: dir, Memory: MinMemory, Delimiter: comma[0],
			Workers: rapid.IntRange(1, 3).Draw(t, "workers"),
		}}).build(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(sum.File)
		if err != nil {
			t.Fatal(err)
		}
		got := dump(t, file, comma[0])
		var rowsWant []string
		for _, id := range slices.Sorted(maps.Keys(want)) {
			rowsWant = append(rowsWant, want[id])
		}
		if !slices.Equal(got, rowsWant) {
			t.Fatalf("got  %q\nwant %q", got, rowsWant)
		}
		if sum.Rows != total || sum.Duplicates != total-int64(len(want)) {
			t.Fatalf("%d rows and %d duplicates, want %d and %d", sum.Rows, sum.Duplicates, total, total-int64(len(want)))
		}
	})
}

func compress(t *rapid.T, data []byte) []byte {
	var b bytes.Buffer
	var w io.WriteCloser
	switch rapid.IntRange(0, 3).Draw(t, "compression") {
	case 0:
		w = gzip.NewWriter(&b)
	case 1:
		var err error
		if w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1)); err != nil {
			t.Fatal(err)
		}
	default:
		return data
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// table is a synthetic CSV.
func table(t testing.TB, tab synth.Table) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := tab.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var kinds = []synth.Kind{synth.KeysV4, synth.KeysV7, synth.KeysSequential, synth.KeysSamePrefix}

// The same rows make the same bytes: in memory, through the page cache or past
// it, or spilled, with one worker or many, from one input or ten, whatever the keys.
func TestSameBytes(t *testing.T) {
	const rows = 40_000
	for _, kind := range kinds {
		for _, dup := range []Duplicates{KeepLast, KeepFirst} {
			t.Run(fmt.Sprint(kind, "/", dup), func(t *testing.T) {
				data := table(t, synth.Table{Keys: synth.Keys{Kind: kind, Seed: 7}, Rows: rows, Duplicates: 3000})
				base := Options{Duplicates: dup, Workers: 1}
				one := base
				one.Inputs = []Input{stream("one", data)}
				sum, want := mustBuild(t, sizesFor(MinMemory, 1), one)
				if sum.Duplicates != 3000 || sum.Records != rows-3000 || sum.SpilledBytes != 0 {
					t.Fatalf("summary %+v", sum)
				}
				if got := dump(t, want, ','); !slices.Equal(got, expect(data, dup)) {
					t.Fatal("the rows are not those of the oracle")
				}
				for _, workers := range []int{1, 2, 3} {
					direct := sizesFor(MinMemory, workers)
					direct.cached = rows / 2
					for name, s := range map[string]sizes{"memory": sizesFor(MinMemory, workers), "direct": direct, "spilled": tiny} {
						for _, parts := range []int{1, 10} {
							opts := base
							opts.Workers = workers
							opts.Inputs = cut(data, parts)
							sum, got := mustBuild(t, s, opts)
							if (name == "spilled") != (sum.SpilledBytes > 0) {
								t.Fatalf("%s, %d workers: %d bytes spilled", name, workers, sum.SpilledBytes)
							}
							if !bytes.Equal(got, want) {
								t.Errorf("%s, %d workers, %d parts: other bytes", name, workers, parts)
							}
						}
					}
				}
			})
		}
	}
}

// expect is the rows of canonical data, one of each id, in the order of ids.
func expect(data []byte, dup Duplicates) []string {
	rows := map[string]string{}
	for line := range strings.Lines(string(data)) {
		id := line[:36]
		if _, ok := rows[id]; !ok || dup == KeepLast {
			rows[id] = strings.TrimSuffix(line, "\n")
		}
	}
	var out []string
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, rows[id])
	}
	return out
}

// cut cuts data at lines into parts, each of which is an input.
func cut(data []byte, parts int) []Input {
	var inputs []Input
	for i := range parts {
		end := len(data) / (parts - i)
		if i == parts-1 {
			end = len(data)
		} else if j := bytes.IndexByte(data[end:], '\n'); j >= 0 {
			end += j + 1
		}
		inputs = append(inputs, stream(fmt.Sprint("part ", i), data[:end]))
		data = data[end:]
	}
	return inputs
}

// More rows of one id than memory holds, among others.
func TestOneID(t *testing.T) {
	row := func(id, i int) string {
		return fmt.Sprintf("%08x-0000-4000-8000-000000000000,%d,2018-06-04 06:01:20\n", id, i)
	}
	var b strings.Builder
	n := 0
	for i := range 60_000 {
		id := 1
		if i%1000 == 999 {
			id = i
		}
		b.WriteString(row(id, i))
		n++
	}
	for _, dup := range []Duplicates{KeepLast, KeepFirst} {
		_, file := mustBuild(t, tiny, Options{Inputs: []Input{stream("x", []byte(b.String()))}, Duplicates: dup, Workers: 2})
		if got, want := dump(t, file, ','), expect([]byte(b.String()), dup); !slices.Equal(got, want) {
			t.Errorf("policy %d: got %d rows, want %d; first %q, want %q", dup, len(got), len(want), got[0], want[0])
		}
	}
	_, err := (&build{sizes: tiny, Options: Options{
		Inputs: []Input{stream("x", []byte(b.String()))}, Dir: t.TempDir(), Memory: MinMemory, Duplicates: Refuse,
	}}).build(context.Background())
	var dups *DuplicatesError
	if !errors.As(err, &dups) || dups.Count != 60_000-60-1 || len(dups.IDs) != 1 || dups.IDs[0] != "00000001-0000-4000-8000-000000000000" {
		t.Errorf("error %v", err)
	}
}

func TestBadRows(t *testing.T) {
	const good = "172FFC14-D229-4C93-B06B-F48B8C095512,9.68,2022-06-04 06:01:20"
	id := good[:36]
	for _, tc := range []struct {
		row    string
		column int
		reason string
	}{
		{"x", 1, "1 field, not"},
		{strings.ReplaceAll(good, ",", ";"), 1, "is the delimiter ';'?"},
		{good + ",", 1, "4 fields"},
		{id + ",9.68", 1, "2 fields"},
		{strings.Replace(good, "D229", "G229", 1), 10, "not a hexadecimal digit"},
		{strings.Replace(good, "-", "_", 1), 9, "dash"},
		{good[1:], 8, "character 8"},
		{" " + good, 1, "character 1"},
		{id + ",1e5,2022-06-04 06:01:20", 39, "price"},
		{id + ",NaN,2022-06-04 06:01:20", 38, "price"},
		{id + ",,2022-06-04 06:01:20", 38, "no digits"},
		{id + ",12345678901234567,2022-06-04 06:01:20", 38, "17 digits"},
		{id + ",\"9.68,2022-06-04 06:01:20", 38, "quote"},
		{id + ",\"9.6\"8,2022-06-04 06:01:20", 43, "closing quote"},
		{id + ",1,2022-02-30 06:01:20", 48, "no day 30"},
		{id + ",1,2022-06-04 24:01:20", 51, "no hour 24"},
		{id + ",1,2022-06-04 06:01", 56, "ends"},
		{id + ",1,2022-06-04 06:01:20.5", 59, "fraction"},
		{id + ",1,2022-06-04 06:01:20 +0200 C3T", 67, "zone"},
		{id + ",1,2022-06-04 06:01:20 +2500", 60, "no offset"},
		{id + ",1,2022-06-04T06:01:20", 59, "Z or an offset"},
		{id + ",1,2022-06-04 06:01:20Z", 59, "'Z'"},
		{id + ",1,\"2022-06-04 06:01:20\x00\"", 60, `'\x00'`},
		{"\"" + id + "\",1,2022-02-30 06:01:20", 50, "no day 30"},
	} {
		dir := t.TempDir()
		data := "\xef\xbb\xbfid,price,expiration_date\r\n" + good + "\n\n" + tc.row + "\n" + good
		_, err := Build(context.Background(), Options{Inputs: []Input{stream("in.csv", []byte(data))}, Dir: dir, Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) {
			t.Errorf("%q: error %v", tc.row, err)
			continue
		}
		if got := bad.Rows[0]; bad.Count != 1 || got.Input != "in.csv" || got.Line != 4 || got.Column != tc.column || !strings.Contains(got.Reason, tc.reason) || got.Text != tc.row {
			t.Errorf("%q: %d bad rows, %+v; want column %d, %q", tc.row, bad.Count, got, tc.column, tc.reason)
		}
		wantOnly(t, dir, ".lock")
	}
}

// wantOnly fails unless dir holds the files names and no others.
func wantOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, names) {
		t.Errorf("the directory has %q, want %q", got, names)
	}
}

// Line numbers and the first bad rows are those of the input, whoever parses
// it: many chunks, inputs and workers.
func TestBadRowsInOrder(t *testing.T) {
	data := table(t, synth.Table{Keys: synth.Keys{Seed: 1}, Rows: 3000})
	lines := bytes.SplitAfter(data, []byte("\n"))
	var want []string
	for i := 5; i < 3000; i += 61 {
		lines[i] = fmt.Appendf(nil, "bad %d\n", i)
		want = append(want, fmt.Sprintf("%d:bad %d", i%1000+1, i))
	}
	var inputs []Input
	for i := range 3 {
		inputs = append(inputs, stream(fmt.Sprint(i), bytes.Join(lines[i*1000:(i+1)*1000], nil)))
	}
	var rejects bytes.Buffer
	run := func(max int64) (Summary, error) {
		rejects.Reset()
		for i := range inputs {
			inputs[i] = stream(inputs[i].Name, bytes.Join(lines[i*1000:(i+1)*1000], nil))
		}
		return (&build{sizes: tiny, Options: Options{
			Inputs: inputs, Dir: t.TempDir(), Memory: MinMemory, Workers: 3, MaxBadRows: max, Rejects: &rejects,
		}}).build(context.Background())
	}
	_, err := run(int64(len(want)) - 1)
	var bad *BadRowsError
	if !errors.As(err, &bad) || bad.Count != int64(len(want)) || len(bad.Rows) != 20 {
		t.Fatalf("error %v", err)
	}
	for i, r := range bad.Rows {
		if got := fmt.Sprintf("%d:%s", r.Line, r.Text); got != want[i] {
			t.Errorf("bad row %d is %s, want %s", i, got, want[i])
		}
	}
	sum, err := run(int64(len(want)))
	if err != nil || sum.BadRows != int64(len(want)) || sum.Records != 3000-int64(len(want)) {
		t.Fatalf("summary %+v, error %v", sum, err)
	}
	got, err := csv.NewReader(&rejects).ReadAll()
	if err != nil || len(got) != len(want)+1 {
		t.Fatalf("%d rejects, error %v", len(got), err)
	}
	for i, r := range got[1:] {
		if r[1]+":"+r[4] != want[i] {
			t.Errorf("reject %d is %q, want %s", i, r, want[i])
		}
	}
}

func TestLongRow(t *testing.T) {
	good := "172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20"
	for _, n := range []int{4095, 4096, 4097, 8192, 50_000} {
		for _, end := range []string{"", "\n", "\n" + good, "\r\n" + good + "\n"} {
			data := good + "\n" + strings.Repeat("x", n) + end
			sum, err := (&build{sizes: tiny, Options: Options{
				Inputs: []Input{stream("a", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: 1,
			}}).build(context.Background())
			want := 1 + int64(strings.Count(data, good))
			if err != nil || sum.BadRows != 1 || sum.Rows != want {
				t.Errorf("%d bytes, then %q: %+v, error %v", n, end, sum, err)
			}
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, data := range []string{"", "\n\r\n", "id,price,expiration_date", "\xef\xbb\xbf"} {
		dir := t.TempDir()
		opts := Options{Inputs: []Input{stream("a", []byte(data))}, Dir: dir, Memory: MinMemory}
		if _, err := Build(context.Background(), opts); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: error %v", data, err)
		}
		wantOnly(t, dir, ".lock")
		opts.AllowEmpty = true
		opts.Inputs = []Input{stream("a", []byte(data))}
		sum, file := mustBuild(t, sizes{}, opts)
		if rows := dump(t, file, ','); sum.Records != 0 || len(rows) != 0 {
			t.Errorf("%q: %+v", data, sum)
		}
	}
}

// A compressed stream that ends early is no end of the data.
func TestCutStream(t *testing.T) {
	data := table(t, synth.Table{Rows: 2000})
	var gz, zst bytes.Buffer
	w := gzip.NewWriter(&gz)
	e, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{w, e} {
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, whole := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		for _, n := range []int{5, 20, len(whole) / 2, len(whole) - 5, len(whole) - 1} {
			dir := t.TempDir()
			_, err := Build(context.Background(), Options{Inputs: []Input{stream("cut", whole[:n])}, Dir: dir, Memory: MinMemory})
			if err == nil || !strings.Contains(err.Error(), "cut: ") {
				t.Errorf("%s cut to %d of %d bytes: error %v", name, n, len(whole), err)
			}
			wantOnly(t, dir, ".lock")
		}
	}
}

// failing gives some bytes and then an error.
type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestInputFails(t *testing.T) {
	lost := errors.New("lost")
	for _, err := range []error{lost, io.ErrUnexpectedEOF} {
		for _, n := range []int64{0, 3, 100, 5000} {
			dir := t.TempDir()
			data := table(t, synth.Table{Rows: 200})
			in := StreamInput("in", failing{io.LimitReader(bytes.NewReader(data), n), err})
			if _, got := Build(context.Background(), Options{Inputs: []Input{in}, Dir: dir, Memory: MinMemory}); !errors.Is(got, err) {
				t.Errorf("after %d bytes: error %v, want %v", n, got, err)
			}
			wantOnly(t, dir, ".lock")
		}
	}
	_, err := Build(context.Background(), Options{Inputs: []Input{FileInput("/no/such/file")}, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
}

// Cancelled in each phase, a build leaves nothing, and what was there stays.
func TestCancel(t *testing.T) {
	data := table(t, synth.Table{Rows: 60_000})
	for _, phase := range []Phase{PhaseRead, PhaseSort, PhaseMerge, PhasePublish} {
		dir := t.TempDir()
		mustBuild(t, sizes{}, Options{Inputs: []Input{stream("a", data)}, Dir: dir})
		s := tiny
		if phase == PhaseSort {
			s = sizes{}
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err := (&build{sizes: s, Options: Options{
			Inputs: []Input{stream("b", data)}, Dir: dir, Memory: MinMemory, Workers: 2,
			Observe: func(st Status) {
				if st.Phase == phase {
					cancel(cause)
				}
			},
		}}).build(ctx)
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", phase, err)
		}
		wantOnly(t, dir, ".lock", generation.Name{ID: testGeneration, Shards: 1}.String())
	}
}

// A stalled pipe does not hold up the end of a build.
func TestCancelStalledInput(t *testing.T) {
	r, w := io.Pipe()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Build(ctx, Options{Inputs: []Input{StreamInput("pipe", r)}, Dir: dir, Memory: MinMemory})
		done <- err
	}()
	if _, err := w.Write([]byte("172ffc14-d229-4c93")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.Close() // ends the Read that was left behind
	wantOnly(t, dir, ".lock")
}

// The same for a pipe of the system, which no goroutine is left behind for;
// until then it is read to its end, however it comes.
func TestSystemPipe(t *testing.T) {
	data := table(t, synth.Table{Rows: 10_000})
	_, want := mustBuild(t, sizes{}, Options{Inputs: []Input{stream("a", data)}})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := w.Write(rest[:min(len(rest), 100_001)])
			if err != nil {
				t.Error(err)
			}
			rest = rest[n:]
		}
		w.Close()
	}()
	if _, got := mustBuild(t, sizes{}, Options{Inputs: []Input{StreamInput("pipe", r)}}); !bytes.Equal(got, want) {
		t.Error("other bytes")
	}

	r, w, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(data[:1000]); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for { // until the build waits for more
			left, err := unix.IoctlGetInt(int(w.Fd()), unix.TIOCINQ)
			if left == 0 || err != nil {
				return
			}
			runtime.Gosched()
		}
	}()
	dir := t.TempDir()
	_, err = Build(ctx, Options{Inputs: []Input{StreamInput("pipe", r)}, Dir: dir, Memory: MinMemory})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantOnly(t, dir, ".lock")
}

func TestOlderGeneration(t *testing.T) {
	dir := t.TempDir()
	data := table(t, synth.Table{Rows: 10})
	mustBuild(t, sizes{}, Options{Inputs: []Input{stream("a", data)}, Dir: dir})
	_, err := Build(context.Background(), Options{Inputs: []Input{stream("a", data)}, Dir: dir, Memory: MinMemory, Generation: testGeneration})
	if err == nil || !strings.Contains(err.Error(), "would not be the newest") {
		t.Errorf("error %v", err)
	}
	lock, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Build(context.Background(), Options{Inputs: []Input{stream("a", data)}, Dir: dir, Memory: MinMemory})
	if !errors.Is(err, generation.ErrLocked) {
		t.Errorf("error %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	for _, name := range []string{
		filepath.Join(tmp, ".promobuild-123.spill"),
		filepath.Join(dir, "."+generation.Name{ID: 5, Shards: 1}.String()+".tmp"),
	} {
		if err := os.WriteFile(name, []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustBuild(t, tiny, Options{Inputs: []Input{stream("a", table(t, synth.Table{Rows: 30_000}))}, Dir: dir, TempDir: tmp})
	wantOnly(t, tmp)
	wantOnly(t, dir, ".lock", generation.Name{ID: testGeneration, Shards: 1}.String())
}

func TestOptions(t *testing.T) {
	in := []Input{stream("a", nil)}
	for name, opts := range map[string]Options{
		"no input":      {Memory: MinMemory},
		"no memory":     {Inputs: in, Memory: MinMemory - 1},
		"bad delimiter": {Inputs: in, Memory: MinMemory, Delimiter: '-'},
	} {
		opts.Dir = t.TempDir()
		if _, err := Build(context.Background(), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
		wantOnly(t, opts.Dir)
	}
}

func TestSortRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, insertionMax, insertionMax + 1, 1000, 50_000} {
		for _, mask := range []format.Key{{Hi: ^uint64(0), Lo: ^uint64(0)}, {Lo: 0xFFFF}, {Hi: 3, Lo: 1 << 63}, {Hi: 0xFF << 56, Lo: 0xFF}, {}} {
			a := make([]format.Record, n)
			for i := range a {
				k := format.Key{Hi: rng.Uint64() & mask.Hi, Lo: rng.Uint64() & mask.Lo}
				a[i] = format.MakeRecord(k, false, format.Price{Digits: uint64(i)}, 0, 0)
			}
			want := slices.Clone(a)
			slices.SortStableFunc(want, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
			sortRecords(a, make([]format.Record, n))
			if !slices.Equal(a, want) {
				t.Errorf("%d records, keys of %x: not sorted stably", n, mask)
			}
		}
	}
}

// The first row of an input may be something else altogether, and a header may
// stand behind blank lines.
func TestFirstRow(t *testing.T) {
	const good = "172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20\n"
	for data, reason := range map[string]string{
		"PROMOGEN\x00\x00\x00\x01" + good:          "generation file",
		"\xff\xfei\x00d\x00\n\x00" + good:          "UTF-16",
		"Promotion,price,expires\n" + good:         "nor is it the header id,price,expiration_date",
		"\xef\xbb\xbf\r\nprice,id,when\r\n" + good: "nor is it the header",
	} {
		_, err := Build(context.Background(), Options{Inputs: []Input{stream("a", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) || !strings.Contains(bad.Rows[0].Reason, reason) {
			t.Errorf("%q: error %v, want %q", data, err, reason)
		}
	}
	data := "\xef\xbb\xbf\n\r\nID,PRICE,EXPIRATION_DATE\r\n" + good + "x\n"
	sum, _ := mustBuild(t, sizes{}, Options{Inputs: []Input{stream("a", []byte(data))}, MaxBadRows: 1})
	if sum.Rows != 2 || sum.Records != 1 || sum.BadRows != 1 {
		t.Errorf("a header behind blank lines: %+v", sum)
	}
}

// All rows bad and tolerated is not the same as no rows.
func TestOnlyBadRows(t *testing.T) {
	_, err := Build(context.Background(), Options{Inputs: []Input{stream("a", []byte("x\n"))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: 1})
	if !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "1 field, not the 3") {
		t.Errorf("error %v", err)
	}
}

// Rejects that nobody takes do not hold up the end of a build.
func TestCancelStalledRejects(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := Build(ctx, Options{
			Inputs: []Input{stream("a", bytes.Repeat([]byte("bad\n"), 100_000))}, Dir: t.TempDir(), Memory: MinMemory, Rejects: w, MaxBadRows: 1_000_000,
		})
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	r.Close() // ends the Write that was left behind
}

// A zstd stream may not ask for more memory than there is for it.
func TestLargeWindow(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(2*maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.Table{Rows: 500_000}).WriteTo(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Build(context.Background(), Options{Inputs: []Input{stream("a", b.Bytes())}, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.Is(err, zstd.ErrWindowSizeExceeded) || !strings.Contains(err.Error(), "--long") {
		t.Errorf("error %v", err)
	}
}

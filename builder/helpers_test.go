package builder

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/synth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny makes spills, splits and merges of a few thousand rows.
var tiny = sizes{
	chunk: 4 << 10,
	sort:  extsort.Sizes{Arena: 1500 * 8 * format.RecordLen, Page: 3, Leaf: 512, Direct: 8 << 10},
}

// inMemory selects the default sizes, which fit the data of these tests.
var inMemory = sizes{}

const testGeneration = generation.ID(1_700_000_000_000)

// buildWith builds with these sizes.
func buildWith(ctx context.Context, s sizes, opts Options) (Summary, error) {
	opts.Memory = max(opts.Memory, MinMemory)
	return (&build{Options: opts, sizes: s}).build(ctx)
}

// mustBuild builds testGeneration and returns the summary and the file. If there
// is no opts.Dir, it uses a temporary one.
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
	opts.Generation = testGeneration
	sum, err := buildWith(t.Context(), s, opts)
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

// dump verifies a file and returns its rows.
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

// stream returns an input of these bytes.
func stream(name string, data []byte) Input { return StreamInput(name, bytes.NewReader(data)) }

// csvOf returns a synthetic data set.
func csvOf(t testing.TB, tab synth.DataSet) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := tab.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// synthetic returns an input of a synthetic data set, in which some rows repeat
// an id.
func synthetic(t *testing.T, rows, duplicates int64) Input {
	t.Helper()
	return stream("synthetic", csvOf(t, synth.DataSet{Rows: rows, Duplicates: duplicates}))
}

var kinds = []synth.Kind{synth.KeysV4, synth.KeysV7, synth.KeysV1, synth.KeysSequential, synth.KeysSamePrefix}

// expect returns the rows of canonical data, one of each id, in the order of the
// ids.
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

// split splits data at line ends into several inputs.
func split(data []byte, parts int) []Input {
	var inputs []Input
	for i, part := range cut(data, parts) {
		inputs = append(inputs, stream(fmt.Sprint("part ", i), part))
	}
	return inputs
}

// cut cuts data at line ends into parts of about the same size.
func cut(data []byte, num int) (parts [][]byte) {
	for i := range num {
		end := len(data) / (num - i)
		if i == num-1 {
			end = len(data)
		} else if j := bytes.IndexByte(data[end:], '\n'); j >= 0 {
			end += j + 1
		}
		parts = append(parts, data[:end])
		data = data[end:]
	}
	return parts
}

// wantFiles fails the test unless dir has exactly the files names.
func wantFiles(t *testing.T, dir string, names ...string) {
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

// generations returns the IDs of the generations in dir.
func generations(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list {
		names = append(names, g.ID.String())
	}
	return names
}

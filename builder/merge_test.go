package builder

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/synth"
)

// tinyMerge makes merges of many ranges of a few thousand records.
var tinyMerge = extsort.Sizes{Arena: 1 << 20, Page: 3, Direct: 64 << 10}

// mergeWith merges with these sizes.
func mergeWith(ctx context.Context, s extsort.Sizes, opts MergeOptions) (format.Header, error) {
	opts.Memory = max(opts.Memory, MinMemory)
	m := &merge{MergeOptions: opts, sizes: s}
	m.progress.observe = opts.Observe
	return m.merge(ctx)
}

// buildFiles builds testGeneration in a new directory below parent and returns the
// paths of the files.
func buildFiles(t rapid.TB, parent string, s sizes, opts Options, data []byte) []string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "run")
	if err != nil {
		t.Fatal(err)
	}
	opts.Dir, opts.Generation, opts.AllowEmpty = dir, testGeneration, true
	opts.Inputs = []Input{stream("rows", data)}
	sum, err := buildWith(context.Background(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sum.Files
}

// checkMerge builds all parts together, and each of them, and compares the files of
// the one build with the merged files of the others.
func checkMerge(t rapid.TB, dir string, parts [][]byte, opts Options, merges map[string]extsort.Sizes) {
	t.Helper()
	want := buildFiles(t, dir, inMemory, opts, bytes.Join(parts, nil))
	runs := make([][]string, len(want)) // by shard
	for _, part := range parts {
		for shard, path := range buildFiles(t, dir, inMemory, opts, part) {
			runs[shard] = append(runs[shard], path)
		}
	}
	for name, s := range merges {
		for shard := range want {
			out := filepath.Join(dir, fmt.Sprint(name, shard))
			header, err := mergeWith(context.Background(), s, MergeOptions{Runs: runs[shard], Out: out, Duplicates: opts.Duplicates, Workers: opts.Workers})
			if err != nil {
				t.Fatalf("%s, shard %d: %v", name, shard, err)
			}
			got := readFile(t, out)
			if !bytes.Equal(got, readFile(t, want[shard])) {
				t.Fatalf("%s, shard %d of %d runs: the merged file differs from that of one build", name, shard, len(parts))
			}
			if h, err := format.ReadHeader(bytes.NewReader(got)); err != nil || h != header {
				t.Fatalf("%s, shard %d: header %+v, %v; want %+v", name, shard, header, err, h)
			}
		}
	}
}

func readFile(t rapid.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Random rows, divided at random, become the same files in one build and in builds of
// the parts whose files are merged.
func TestMergeEqualsBuild(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		pool := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return drawRow(t, ",") }), 1, 30).Draw(t, "rows")
		parts := make([][]byte, rapid.IntRange(1, 5).Draw(t, "parts"))
		for i := range parts {
			for range rapid.IntRange(0, 40).Draw(t, "rows of the part") {
				line := rapid.SampledFrom(pool).Draw(t, "row")
				if rapid.IntRange(0, 9).Draw(t, "bad") == 0 {
					line = "bad row"
				}
				parts[i] = append(parts[i], line+"\n"...)
			}
		}
		dir, err := os.MkdirTemp(dir, "check")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		opts := Options{
			Duplicates: rapid.SampledFrom([]Duplicates{KeepLast, KeepFirst}).Draw(t, "policy"),
			Sharding:   rapid.SampledFrom([]format.Sharding{format.Unsharded, format.Unsharded, format.Unsharded, format.Unsharded, shardings[0], shardings[2]}).Draw(t, "sharding"),
			Workers:    rapid.IntRange(1, 3).Draw(t, "workers"),
			MaxBadRows: 1000,
		}
		checkMerge(t, dir, parts, opts, map[string]extsort.Sizes{"memory": {}})
	})
}

// Memory and the path to the disk do not change a byte, for all kinds of keys, and
// runs of different sizes, styles and duplicates.
func TestMergeOfManyRangesEqualsBuild(t *testing.T) {
	const rows = 30_000
	direct := extsort.MergeSizes(MinMemory, 0)
	direct.Cached = 1
	merges := map[string]extsort.Sizes{"memory": {}, "direct": direct, "tiny": tinyMerge}
	for i, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			parts := cut(mixed(t, kind, rows), 5)
			small := cut(parts[1], 6) // runs of less than a block in each shard
			parts = slices.Concat(parts[:1], small, [][]byte{nil}, parts[2:], [][]byte{nil})
			for j, sharding := range []format.Sharding{format.Unsharded, shardings[0], shardings[2]} {
				checkMerge(t, t.TempDir(), parts, Options{
					Duplicates: []Duplicates{KeepLast, KeepFirst}[(i+j)%2], Sharding: sharding, MaxBadRows: rows, Workers: 1 + i%3,
				}, merges)
			}
		})
	}
}

// The same rows in several runs repeat all samples.
func TestMergeOfEqualRuns(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 20_000})
	for _, dup := range []Duplicates{KeepLast, KeepFirst} {
		checkMerge(t, t.TempDir(), [][]byte{data, data, data, data}, Options{Duplicates: dup, Workers: 2}, map[string]extsort.Sizes{"tiny": tinyMerge})
	}
}

func TestMergeFailsOnDuplicates(t *testing.T) {
	dir := t.TempDir()
	opts := Options{Duplicates: FailOnDuplicate, Workers: 2}
	runs := slices.Concat(
		buildFiles(t, dir, inMemory, opts, []byte(rows(0, 500))),
		buildFiles(t, dir, inMemory, opts, []byte(rows(470, 900))),
	)
	for name, s := range map[string]extsort.Sizes{"memory": {}, "tiny": tinyMerge} {
		out := filepath.Join(dir, "out")
		_, err := mergeWith(t.Context(), s, MergeOptions{Runs: runs, Out: out, Duplicates: FailOnDuplicate})
		var dups *DuplicatesError
		if !errors.As(err, &dups) || dups.Count != 30 || len(dups.IDs) != maxShown || !slices.IsSorted(dups.IDs) {
			t.Fatalf("%s: error %v, want the lowest ids", name, err)
		}
		for i, id := range dups.IDs {
			if !strings.HasPrefix(rows(470+i, 471+i), id) {
				t.Errorf("%s: repeated id %d is %s, want that of row %d", name, i, id, 470+i)
			}
		}
		wantNoFile(t, out)
	}
	if _, err := mergeWith(t.Context(), tinyMerge, MergeOptions{Runs: runs[:1], Out: filepath.Join(dir, "one"), Duplicates: FailOnDuplicate}); err != nil {
		t.Error(err)
	}
	// A build with another policy has removed duplicates.
	other := buildFiles(t, dir, inMemory, Options{}, []byte(rows(0, 5)+rows(0, 5)))
	out := filepath.Join(dir, "out")
	if _, err := mergeWith(t.Context(), tinyMerge, MergeOptions{Runs: other, Out: out, Duplicates: FailOnDuplicate}); err == nil || err.Error() != "5 rows repeat an id" {
		t.Errorf("error %v", err)
	}
	wantNoFile(t, out)
}

func wantNoFile(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s exists: %v", path, err)
	}
}

// damageKinds are the kinds of damage of package format.
var damageKinds = []error{format.ErrFormat, format.ErrVersion, format.ErrTruncated, format.ErrChecksum, format.ErrCorrupt, format.ErrOrder}

// wantDamaged fails the test unless merges of good and damaged end with an error that
// names damaged and wraps one of kinds, and leave no file.
func wantDamaged(t *testing.T, what, good, damaged string, kinds ...error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	_, err := mergeWith(t.Context(), tinyMerge, MergeOptions{Runs: []string{good, damaged}, Out: out, Workers: 1})
	var run *RunError
	if !errors.As(err, &run) || run.Path != damaged || !strings.Contains(err.Error(), damaged) {
		t.Errorf("%s: error %v, want a *RunError", what, err)
	}
	if !slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) }) || !strings.Contains(fmt.Sprint(err), " at offset ") {
		t.Errorf("%s: error %v, want one of %v", what, err, kinds)
	}
	wantNoFile(t, out)
}

// A merge notices a flipped bit anywhere in a run, and a run that is cut anywhere.
func TestMergeOfDamagedRun(t *testing.T) {
	dir := t.TempDir()
	opts := Options{Sharding: shardings[0], MaxBadRows: 1000}
	good := buildFiles(t, dir, inMemory, opts, mixed(t, synth.KeysV4, 9000))[0]
	path := buildFiles(t, dir, inMemory, opts, mixed(t, synth.KeysV7, 9000))[0]
	file := readFile(t, path)
	x, err := format.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged")
	write := func(b []byte) {
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range x.Regions() {
		step := max(1, r.Len/60)
		for off := r.Offset; off < r.Offset+r.Len; off += step {
			b := bytes.Clone(file)
			b[off] ^= 1 << (off % 8)
			write(b)
			wantDamaged(t, fmt.Sprintf("bit flipped in the %s, offset %d", r.Name, off), good, damaged, damageKinds...)
		}
		for _, off := range []int64{r.Offset, r.Offset + 1, r.Offset + r.Len/2, r.Offset + r.Len - 1} {
			write(file[:off])
			wantDamaged(t, fmt.Sprintf("cut in the %s, offset %d", r.Name, off), good, damaged, format.ErrTruncated, format.ErrFormat)
		}
	}
	write(append(bytes.Clone(file), 0))
	wantDamaged(t, "a byte too much", good, damaged, format.ErrTruncated)
}

// Content that is wrong in spite of good checksums is an error too. A block that does
// not begin with its fence is found by its own reader, or by that of the block before.
func TestMergeOfRunWithWrongContent(t *testing.T) {
	dir := t.TempDir()
	good := buildFiles(t, dir, inMemory, Options{}, []byte(rows(0, 3000)))[0]
	file := readFile(t, good)
	x, err := format.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(records []format.Record) // of block 3
		kinds  []error
	}{
		"style":                 {func(r []format.Record) { r[5].SetStyle(7) }, []error{format.ErrCorrupt}},
		"price":                 {func(r []format.Record) { r[5].SetTag(3) }, []error{format.ErrCorrupt}},
		"order":                 {func(r []format.Record) { r[5], r[6] = r[6], r[5] }, []error{format.ErrOrder}},
		"repeated id":           {func(r []format.Record) { r[5].SetKey(r[6].Key()) }, []error{format.ErrOrder}},
		"id before the fence":   {func(r []format.Record) { r[0].SetKey(format.Key{}) }, []error{format.ErrOrder, format.ErrCorrupt}},
		"id of the next block":  {func(r []format.Record) { r[127].SetKey(format.Key{Hi: 1<<64 - 1}) }, []error{format.ErrOrder}},
		"id of the next sample": {func(r []format.Record) { r[127].SetKey(x.MaxKey) }, []error{format.ErrOrder}},
	} {
		b := bytes.Clone(file)
		block := b[format.BlockOff(3):][:format.BlockLen]
		c.change(format.Records(block))
		regions := x.Regions()
		sums, trailer := regions[3], regions[4]
		binary.BigEndian.PutUint32(b[sums.Offset+3*format.ChecksumLen:], format.Checksum(block))
		binary.BigEndian.PutUint32(b[trailer.Offset+4:], format.Checksum(b[sums.Offset:][:sums.Len]))
		end := len(b) - format.ChecksumLen
		binary.BigEndian.PutUint32(b[end:], format.Checksum(b[trailer.Offset:end]))
		damaged := filepath.Join(dir, "damaged")
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		wantDamaged(t, name, good, damaged, c.kinds...)
	}
}

// A run that changes after it was opened is an error.
func TestMergeOfChangingRun(t *testing.T) {
	dir := t.TempDir()
	data := csvOf(t, synth.DataSet{Rows: 30_000})
	for name, c := range map[string]struct {
		change func(f *os.File) error
		kind   error
	}{
		"cut":         {func(f *os.File) error { return f.Truncate(format.BlockOff(200)) }, format.ErrTruncated},
		"cut a block": {func(f *os.File) error { return f.Truncate(format.BlockOff(200) + 100) }, format.ErrTruncated},
		"overwritten": {func(f *os.File) error { _, err := f.WriteAt([]byte("x"), format.BlockOff(230)+99); return err }, format.ErrChecksum},
	} {
		for _, cached := range []int{0, 1 << 30} {
			runs := slices.Concat(buildFiles(t, dir, inMemory, Options{}, data), buildFiles(t, dir, inMemory, Options{}, data))
			f, err := os.OpenFile(runs[1], os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := tinyMerge
			s.Cached = cached
			out := filepath.Join(dir, "out")
			var once sync.Once
			_, err = mergeWith(t.Context(), s, MergeOptions{Runs: runs, Out: out, Workers: 1, Observe: func(st Status) {
				if st.Records > 0 {
					once.Do(func() {
						if err := c.change(f); err != nil {
							t.Error(err)
						}
					})
				}
			}})
			var run *RunError
			if !errors.As(err, &run) || run.Path != runs[1] || !errors.Is(err, c.kind) || !strings.Contains(err.Error(), "at offset") {
				t.Errorf("%s: error %v, want a *RunError that wraps %v", name, err, c.kind)
			}
			wantNoFile(t, out)
		}
	}
}

func TestMergeOfForeignRun(t *testing.T) {
	dir := t.TempDir()
	runs := buildFiles(t, dir, inMemory, Options{Sharding: shardings[0]}, []byte(rows(0, 500)))
	other := filepath.Join(dir, "other")
	sum, err := buildWith(t.Context(), inMemory, Options{Dir: other, Sharding: shardings[0], Generation: testGeneration + 1, Inputs: textInput(rows(0, 500))})
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{
		"shard":      runs[1],
		"generation": sum.Files[0],
		"rule":       buildFiles(t, dir, inMemory, Options{Sharding: shardings[2]}, []byte(rows(0, 500)))[0],
		"shards":     buildFiles(t, dir, inMemory, Options{Sharding: shardings[1]}, []byte(rows(0, 500)))[0],
	} {
		out := filepath.Join(dir, "out")
		_, err := mergeWith(t.Context(), tinyMerge, MergeOptions{Runs: []string{runs[0], path}, Out: out})
		var run *RunError
		if !errors.As(err, &run) || run.Path != path || !errors.Is(err, ErrForeignRun) {
			t.Errorf("another %s: error %v, want %v", name, err, ErrForeignRun)
		}
		wantNoFile(t, out)
	}
}

func TestInvalidMergeOptions(t *testing.T) {
	dir := t.TempDir()
	runs := buildFiles(t, dir, inMemory, Options{}, []byte(rows(0, 500)))
	existing := filepath.Join(dir, "existing")
	if err := os.WriteFile(existing, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	for name, c := range map[string]struct {
		opts MergeOptions
		want error
	}{
		"no runs":       {MergeOptions{Out: out, Memory: MinMemory}, nil},
		"little memory": {MergeOptions{Runs: runs, Out: out, Memory: MinMemory - 1}, ErrMemory},
		"missing run":   {MergeOptions{Runs: []string{filepath.Join(dir, "missing")}, Out: out, Memory: MinMemory}, fs.ErrNotExist},
		"directory":     {MergeOptions{Runs: []string{dir}, Out: out, Memory: MinMemory}, nil},
		"existing file": {MergeOptions{Runs: runs, Out: existing, Memory: MinMemory}, fs.ErrExist},
		"no directory":  {MergeOptions{Runs: runs, Out: filepath.Join(dir, "no", "out"), Memory: MinMemory}, fs.ErrNotExist},
	} {
		_, err := Merge(t.Context(), c.opts)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		wantNoFile(t, out)
	}
	if got := readFile(t, existing); string(got) != "mine" {
		t.Errorf("the existing file has become %q", got)
	}
}

// A canceled merge leaves no file.
func TestCancelMerge(t *testing.T) {
	dir := t.TempDir()
	data := csvOf(t, synth.DataSet{Rows: 30_000})
	runs := slices.Concat(buildFiles(t, dir, inMemory, Options{}, data), buildFiles(t, dir, inMemory, Options{}, data))
	for name, at := range map[string]func(Status) bool{
		"at the start":  func(s Status) bool { return true },
		"in the middle": func(s Status) bool { return s.Records > 5000 },
		"at the end":    func(s Status) bool { return s.Phase == PhasePublish },
	} {
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		out := filepath.Join(dir, "out")
		_, err := mergeWith(ctx, tinyMerge, MergeOptions{Runs: runs, Out: out, Workers: 2, Observe: func(s Status) {
			if at(s) {
				cancel(cause)
			}
		}})
		if !errors.Is(err, cause) {
			t.Errorf("%s: error %v, want %v", name, err, cause)
		}
		wantNoFile(t, out)
	}
}

// Merges read the same runs at the same time, and do not change them.
func TestConcurrentMerges(t *testing.T) {
	dir := t.TempDir()
	data := mixed(t, synth.KeysV4, 30_000)
	want := readFile(t, buildFiles(t, dir, inMemory, Options{MaxBadRows: 1000}, data)[0])
	var runs []string
	for _, part := range cut(data, 4) {
		runs = append(runs, buildFiles(t, dir, inMemory, Options{MaxBadRows: 1000}, part)...)
	}
	var before [][]byte
	for _, run := range runs {
		before = append(before, readFile(t, run))
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			s := tinyMerge
			s.Cached = i % 2 << 30
			out := filepath.Join(dir, fmt.Sprint("out", i))
			if _, err := mergeWith(t.Context(), s, MergeOptions{Runs: runs, Out: out, Workers: 2}); err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
				t.Errorf("merge %d: wrong file, error %v", i, err)
			}
		})
	}
	wg.Wait()
	for i, run := range runs {
		if !bytes.Equal(readFile(t, run), before[i]) {
			t.Errorf("run %d has changed", i)
		}
	}
}

// A merge reports its progress in two phases.
func TestProgressOfMerge(t *testing.T) {
	dir := t.TempDir()
	runs := slices.Concat(buildFiles(t, dir, inMemory, Options{}, []byte(rows(0, 3000))), buildFiles(t, dir, inMemory, Options{}, []byte(rows(2000, 4000))))
	var phases []Phase
	var last Status
	header, err := mergeWith(t.Context(), tinyMerge, MergeOptions{Runs: runs, Out: filepath.Join(dir, "out"), Observe: func(s Status) {
		if len(phases) == 0 || phases[len(phases)-1] != s.Phase {
			phases = append(phases, s.Phase)
		}
		if s.Rows != 5000 || s.Records < last.Records {
			t.Errorf("status %+v after %+v", s, last)
		}
		last = s
	}})
	if err != nil || !slices.Equal(phases, []Phase{PhaseMerge, PhasePublish}) || last.Records != 4000 {
		t.Errorf("phases %v, last status %+v, error %v", phases, last, err)
	}
	if header.Records != 4000 || header.Duplicates != 1000 || header.Rows != 5000 {
		t.Errorf("header %+v", header)
	}
}

// The records of all runs are limited by the file format.
func TestMergeOfTooManyRecords(t *testing.T) {
	for records, want := range map[uint64]error{format.MaxRecords / 2: nil, format.MaxRecords/2 + 1: ErrRecords} {
		m := new(merge)
		for range 2 {
			m.files = append(m.files, extsort.File{Index: &format.Index{Header: format.Header{Records: records}}})
		}
		if err := m.sumHeaders(); !errors.Is(err, want) {
			t.Errorf("2 runs of %d records: error %v, want %v", records, err, want)
		}
	}
}

// writeStyles writes a generation file without records that has these styles.
func writeStyles(t *testing.T, path string, styles []format.TimestampStyle) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	styles, _ = sortStyles(styles)
	if _, err := format.NewWriter(f, 0).Finish(format.Header{Sharding: format.Unsharded, Generation: int64(testGeneration)}, styles); err != nil {
		t.Fatal(err)
	}
}

// The runs together have as many styles as a file can have, or one more. The version
// of the format is that of all styles.
func TestMergeOfManyStyles(t *testing.T) {
	var all []format.TimestampStyle
	for i := range format.MaxStyles + 1 {
		all = append(all, format.TimestampStyle{Layout: format.LayoutOffset, Minutes: uint16(i % 1440), Zeros: uint8(i / 1440)})
	}
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	writeStyles(t, a, all[:1440]) // of version 1
	writeStyles(t, b, all[700:format.MaxStyles])
	writeStyles(t, c, all[40_000:])
	out := filepath.Join(dir, "out")
	header, err := Merge(t.Context(), MergeOptions{Runs: []string{a, b}, Out: out, Memory: MinMemory})
	if err != nil || header.Version != format.Version {
		t.Fatalf("header %+v, error %v", header, err)
	}
	want, _ := sortStyles(all[:format.MaxStyles])
	if _, styles := headerOf(t, readFile(t, out)); !slices.Equal(styles, want) {
		t.Error("wrong styles")
	}
	if _, err := Merge(t.Context(), MergeOptions{Runs: []string{a, b, c}, Out: filepath.Join(dir, "2"), Memory: MinMemory}); !errors.Is(err, ErrStyles) {
		t.Errorf("error %v, want %v", err, ErrStyles)
	}
	if header, err := Merge(t.Context(), MergeOptions{Runs: []string{a, a}, Out: filepath.Join(dir, "3"), Memory: MinMemory}); err != nil || header.Version != 1 {
		t.Errorf("header %+v, error %v", header, err)
	}
}

// writeRun writes a generation file with these records.
func writeRun(t *testing.T, path string, records []format.Record, styles []format.TimestampStyle) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := format.NewWriter(f, uint64(len(records)))
	batch, err := w.Reserve(records)
	if err == nil {
		err = batch.Write()
	}
	if err == nil {
		_, err = w.Finish(format.Header{Sharding: format.Unsharded, Generation: int64(testGeneration)}, styles)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Small runs, as many as a plan may have, are merged in the least memory.
func TestMergeOfMostRuns(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	const num, perRun = 64, 10 // different runs, and records of each
	var paths []string
	styles := []format.TimestampStyle{{Layout: format.LayoutWall}}
	for i := range num {
		var records []format.Record
		for j := range perRun {
			records = append(records, format.MakeRecord(format.Key{Lo: uint64(j*num + i)}, false, format.Price{Digits: uint64(i)}, 0, 0))
		}
		path := filepath.Join(dir, fmt.Sprint(i))
		writeRun(t, path, records, styles)
		paths = append(paths, path)
	}
	out := filepath.Join(dir, "out")
	paths = slices.Repeat(paths, min(4096, int(limit.Cur)-100)/num)
	header, err := Merge(t.Context(), MergeOptions{Runs: paths, Out: out, Memory: MinMemory})
	if err != nil || header.Records != perRun*num || header.Rows != uint64(perRun*len(paths)) {
		t.Fatalf("header %+v, error %v", header, err)
	}
	for i, row := range dump(t, readFile(t, out), ',') {
		if want := fmt.Sprintf(",%d,", i%num); !strings.Contains(row, want) {
			t.Fatalf("row %d is %s, want the price %s", i, row, want)
		}
	}
}

// A limit on open files fails the merge and tells what to do.
func TestTooManyRunsForOpenFiles(t *testing.T) {
	dir := t.TempDir()
	run := buildFiles(t, dir, inMemory, Options{}, []byte(rows(0, 500)))[0]
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 200
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &small); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	out := filepath.Join(dir, "out")
	_, err := Merge(t.Context(), MergeOptions{Runs: slices.Repeat([]string{run}, 300), Out: out, Memory: MinMemory})
	if !errors.Is(err, syscall.EMFILE) || !strings.Contains(fmt.Sprint(err), "300 runs") || !strings.Contains(fmt.Sprint(err), "ulimit -n") {
		t.Errorf("error %v", err)
	}
	wantNoFile(t, out)
}

func ExampleMerge() {
	dir, err := os.MkdirTemp("", "merge")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	var runs []string
	for i, csv := range []string{
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,60.683466,2018-08-04 05:32:31 +0200 CEST\n",
		"d018ef0b-dbd9-48f1-ac1a-eb4d90e57118,59.9,2018-08-05 05:32:31 +0200 CEST\n",
	} {
		sum, err := Build(ctx, Options{
			Inputs:     []Input{StreamInput("example", strings.NewReader(csv))},
			Dir:        filepath.Join(dir, fmt.Sprint("split-", i)),
			Generation: generation.ID(1_700_000_000_000),
			Memory:     MinMemory,
		})
		if err != nil {
			panic(err)
		}
		runs = append(runs, sum.File)
	}
	header, err := Merge(ctx, MergeOptions{Runs: runs, Out: filepath.Join(dir, "merged"), Memory: MinMemory})
	fmt.Println(header.Records, header.Duplicates, err)
	// Output: 1 1 <nil>
}

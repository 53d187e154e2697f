package builder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/synth"
)

// shardings have both rules, and numbers of shards that are and are not a power of 16.
var shardings = []format.Sharding{
	{Rule: format.ShardLast, Shards: format.MinShards},
	{Rule: format.ShardLast, Shards: 32},
	{Rule: format.ShardFirst, Shards: format.MinShards},
	{Rule: format.ShardFirst, Shards: 128},
}

// mostShards are the shardings of the most shards. A build of so many files takes
// seconds on some disks.
var mostShards = []format.Sharding{
	{Rule: format.ShardLast, Shards: format.MaxShards},
	{Rule: format.ShardFirst, Shards: format.MaxShards},
}

// mustBuildShards builds testGeneration in a temporary directory and returns the
// summary and the files.
func mustBuildShards(t testing.TB, s sizes, opts Options) (Summary, [][]byte) {
	t.Helper()
	dir, err := os.MkdirTemp("", "builder")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opts.Dir, opts.Generation = dir, testGeneration
	sum, err := buildWith(t.Context(), s, opts)
	if err != nil {
		t.Fatal(err)
	}
	var files [][]byte
	total := int64(0)
	for i, path := range sum.Files {
		if want := (generation.Name{ID: testGeneration, Shard: i, Shards: int(opts.Sharding.Shards)}).String(); !strings.HasSuffix(path, want) {
			t.Errorf("file %d is %s, want %s", i, path, want)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		total += int64(len(file))
	}
	if total != sum.FileBytes || sum.Shards != len(files) || sum.File != sum.Files[0] {
		t.Errorf("%d files of %d bytes, the summary says %d files of %d bytes", len(files), total, sum.Shards, sum.FileBytes)
	}
	return sum, files
}

// headerOf returns the header and the dictionary of a file.
func headerOf(t testing.TB, file []byte) (format.Header, []format.TimestampStyle) {
	t.Helper()
	x, err := format.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return x.Header, x.Styles
}

// mixed returns data with repeated ids, bad rows, and several timestamp styles.
func mixed(t testing.TB, kind synth.Kind, rows int64) []byte {
	t.Helper()
	var b bytes.Buffer
	i := 0
	for line := range strings.Lines(string(csvOf(t, synth.DataSet{Keys: synth.Keys{Kind: kind, Seed: 7}, Rows: rows, Duplicates: rows / 10}))) {
		switch i++; i % 50 {
		case 7:
			line = line[:strings.LastIndexByte(line, ',')+1] + "2022-06-04T06:01:20Z\n"
		case 9:
			line = line[:strings.LastIndexByte(line, ',')+1] + "2022-06-04 06:01:20\n"
		case 11:
			b.WriteString("bad row\n")
		}
		b.WriteString(line)
	}
	return b.Bytes()
}

// Together, the shards have the records of the unsharded generation, and the sums
// of their headers are its header. Memory, workers, the path to the disk and the
// division of the input do not change a byte.
func TestShardsEqualUnsharded(t *testing.T) {
	const rows = 20_000
	for i, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			data := mixed(t, kind, rows)
			base := Options{Duplicates: []Duplicates{KeepLast, KeepFirst}[i%2], Workers: 1, MaxBadRows: rows}
			one := base
			one.Inputs = []Input{stream("one", data)}
			whole, file := mustBuild(t, inMemory, one)
			want := dump(t, file, ',')
			wantHeader, wantStyles := headerOf(t, file)
			tested := shardings
			if i < len(mostShards) {
				tested = append(slices.Clone(shardings), mostShards[i])
			}
			for _, sharding := range tested {
				opts := base
				opts.Sharding = sharding
				opts.Inputs = []Input{stream("one", data)}
				sum, files := mustBuildShards(t, inMemory, opts)
				if sum.Records != whole.Records || sum.Rows != whole.Rows || sum.Duplicates != whole.Duplicates || sum.BadRows != whole.BadRows || sum.ShardBy != sharding.Rule.String() {
					t.Errorf("%v: summary %+v, unsharded %+v", sharding, sum, whole)
				}
				var got []string
				var headers []*format.Header
				for i, file := range files {
					h, styles := headerOf(t, file)
					if h.Sharding != sharding || int(h.Shard) != i || !slices.Equal(styles, wantStyles) || i > 0 && h.BadRows != 0 {
						t.Fatalf("%v: file %d has the header %+v and %d styles", sharding, i, h, len(styles))
					}
					headers = append(headers, &h)
					got = append(got, dump(t, file, ',')...) // verifies that no id is of another shard
				}
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Errorf("%v: the rows differ", sharding)
				}
				h := generation.Sum(headers...)
				h.Sharding, h.FileLen = wantHeader.Sharding, wantHeader.FileLen
				if h != wantHeader {
					t.Errorf("%v: sum of the headers %+v, want %+v", sharding, h, wantHeader)
				}
				checkSameFiles(t, data, opts, files)
			}
		})
	}
}

// checkSameFiles builds data in every way and compares the files.
func checkSameFiles(t *testing.T, data []byte, opts Options, want [][]byte) {
	t.Helper()
	direct := sizesFor(MinMemory, 2)
	direct.sort.Cached = 1
	for name, c := range map[string]struct {
		sizes   sizes
		workers int
		inputs  []Input
	}{
		"memory":  {sizesFor(MinMemory, 4), 4, split(data, 3)},
		"direct":  {direct, 2, split(data, 1)},
		"spilled": {tiny, 3, split(data, 2)},
		"lanes":   {tiny, 2, files(t, t.TempDir(), []string{".gz", ".zst"}, cut(data, 4)...)},
	} {
		if opts.Sharding.Shards == format.MaxShards && name != "lanes" {
			continue
		}
		opts.Workers, opts.Inputs = c.workers, c.inputs
		sum, got := mustBuildShards(t, c.sizes, opts)
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%v, %s: the files differ", opts.Sharding, name)
		}
		if spilled := sum.SpilledBytes > 0; spilled != (c.sizes == tiny) {
			t.Errorf("%v, %s: %d bytes spilled", opts.Sharding, name, sum.SpilledBytes)
		}
	}
}

// The repeated ids are those of all shards, in the order of the ids.
func TestDuplicatesOfShards(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		row := fmt.Sprintf("%08x-0000-4000-8000-%012x,1,2018-06-04 06:01:20\n", i, 1<<48-1-i)
		b.WriteString(row + row)
	}
	for _, sharding := range append(shardings, format.Unsharded) {
		for _, s := range []sizes{tiny, inMemory} {
			dir := t.TempDir()
			_, err := buildWith(t.Context(), s, Options{Inputs: textInput(b.String()), Dir: dir, Duplicates: FailOnDuplicate, Sharding: sharding})
			var dups *DuplicatesError
			if !errors.As(err, &dups) || dups.Count != 100 || len(dups.IDs) != maxShown || !slices.IsSorted(dups.IDs) || !strings.HasPrefix(dups.IDs[maxShown-1], "00000013") {
				t.Errorf("%v: error %v, want the lowest ids", sharding, err)
			}
			wantFiles(t, dir, ".lock")
		}
	}
}

// A generation without records has all of its files.
func TestShardsWithoutRecords(t *testing.T) {
	for _, sharding := range append(shardings, mostShards[0]) {
		sum, files := mustBuildShards(t, inMemory, Options{Inputs: textInput("id,price,expiration_date\n"), Guards: Guards{AllowEmpty: true}, Sharding: sharding})
		if len(files) != int(sharding.Shards) || sum.Records != 0 || sum.Uneven() || *sum.LargestShard != (ShardSize{}) {
			t.Errorf("%v: summary %+v", sharding, sum)
		}
		for _, file := range files {
			dump(t, file, ',')
		}
	}
}

func TestInvalidSharding(t *testing.T) {
	for _, s := range []format.Sharding{
		{Rule: format.ShardNone, Shards: 16}, {Rule: format.ShardLast, Shards: 1}, {Rule: format.ShardLast, Shards: 8},
		{Rule: format.ShardFirst, Shards: 24}, {Rule: format.ShardFirst, Shards: 8192}, {Rule: 3, Shards: 16},
	} {
		dir := t.TempDir()
		if _, err := Build(t.Context(), Options{Inputs: textInput(rows(0, 9)), Dir: dir, Memory: MinMemory, Sharding: s}); err == nil {
			t.Errorf("%v is accepted", s)
		}
		wantFiles(t, dir)
	}
}

// The least memory is enough for the most shards.
func TestShardsWithMinMemory(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 600_000})
	sum, _ := mustBuildShards(t, sizes{}, Options{Inputs: []Input{stream("a", data)}, Workers: 4, Sharding: mostShards[0]})
	if sum.Records != 600_000 {
		t.Errorf("summary %+v", sum)
	}
}

// Numbered ids are uneven by their first digits, but not by their last.
func TestUnevenShards(t *testing.T) {
	for _, c := range []struct {
		rule   format.ShardRule
		rows   int
		uneven bool
	}{
		{format.ShardFirst, 1001, true},
		{format.ShardFirst, 1000, false},
		{format.ShardLast, 20_000, false},
		{format.ShardNone, 20_000, false},
	} {
		s := format.Sharding{Rule: c.rule, Shards: 16}
		if c.rule == format.ShardNone {
			s = format.Unsharded
		}
		sum, _ := mustBuildShards(t, inMemory, Options{Inputs: textInput(rows(0, c.rows)), Sharding: s})
		if sum.Uneven() != c.uneven {
			t.Errorf("%v, %d rows: uneven %t, largest shard %+v", s, c.rows, sum.Uneven(), sum.LargestShard)
		}
		if c.rule == format.ShardFirst && *sum.LargestShard != (ShardSize{1, int64(c.rows)}) {
			t.Errorf("largest shard %+v", sum.LargestShard)
		}
	}
}

// The guards compare generations of any sharding.
func TestContentGuardOfShards(t *testing.T) {
	all := append(shardings, format.Unsharded)
	for i, from := range all {
		to := all[(i+1)%len(all)]
		for _, s := range []format.Sharding{from, to} {
			dir := t.TempDir()
			if _, err := buildWith(t.Context(), tiny, Options{Dir: dir, Inputs: textInput(rows(0, 1000)), Generation: testGeneration, Sharding: from}); err != nil {
				t.Fatal(err)
			}
			opts := Options{Dir: dir, Guards: Guards{MaxAdded: 10, MaxRemoved: 10, MaxChanged: 10, MaxShrink: 10}, Sharding: s, Inputs: textInput(rows(200, 1000) + rowsOf(1000, 1200, "1", someDate))}
			_, err := buildWith(t.Context(), tiny, opts)
			var content *ContentError
			if !errors.As(err, &content) || content.Comparison.Added != 200 || content.Comparison.Removed != 200 || content.Comparison.Unchanged != 800 || content.Comparison.LiveRecords != 1000 {
				t.Errorf("from %v to %v: error %v", from, s, err)
			}
			opts.Inputs = textInput(rows(0, 899))
			var guard *GuardError
			if _, err := buildWith(t.Context(), tiny, opts); !errors.As(err, &guard) || guard.LiveRecords != 1000 {
				t.Errorf("from %v to %v: error %v", from, s, err)
			}
			opts.Inputs = textInput(rows(0, 1001))
			if sum, err := buildWith(t.Context(), tiny, opts); err != nil || sum.Comparison.Added != 1 {
				t.Errorf("from %v to %v: %+v, %v", from, s, sum.Comparison, err)
			}
		}
	}
}

// One bad file does not disable the guards: servers loaded the generation before, or
// serve the shards that agree.
func TestGuardFailsIfShardsDisagree(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for dir, rule := range map[string]format.ShardRule{dir: format.ShardLast, other: format.ShardFirst} {
		opts := Options{Dir: dir, Inputs: textInput(rows(0, 1000)), Generation: testGeneration, Sharding: format.Sharding{Rule: rule, Shards: 16}}
		if _, err := buildWith(t.Context(), tiny, opts); err != nil {
			t.Fatal(err)
		}
	}
	name := generation.Name{ID: testGeneration, Shard: 9, Shards: 16}.String()
	if err := os.Rename(filepath.Join(other, name), filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	_, err := buildWith(t.Context(), tiny, Options{Dir: dir, Guards: Guards{MaxShrink: 10}, Inputs: textInput(rows(0, 9))})
	var guard *GuardError
	if !errors.As(err, &guard) || !errors.Is(guard.Cause, generation.ErrDisagree) {
		t.Errorf("error %v, want a *GuardError because of %v", err, generation.ErrDisagree)
	}
}

// A limit on open files fails the build and tells what to do.
func TestTooManyShardsForOpenFiles(t *testing.T) {
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
	dir := t.TempDir()
	for _, shards := range []uint32{128, 256} { // the second file of each shard is too much, and the first
		_, err := buildWith(t.Context(), tiny, Options{Inputs: textInput(rows(0, 3000)), Dir: dir, Sharding: format.Sharding{Rule: format.ShardLast, Shards: shards}})
		if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "ulimit -n") {
			t.Errorf("%d shards: error %v", shards, err)
		}
		wantFiles(t, dir, ".lock")
	}
}

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"promostore/internal/synth"
)

// pack compresses data according to the extension: .gz, .zst, or none.
func pack(t rapid.TB, ext string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch ext {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".zst":
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

// files writes parts to files in dir, compressed according to exts in turn, and
// returns the inputs.
func files(t rapid.TB, dir string, exts []string, parts ...[]byte) []Input {
	t.Helper()
	var inputs []Input
	for i, part := range parts {
		ext := exts[i%len(exts)]
		path := filepath.Join(dir, fmt.Sprint(i, ".csv", ext))
		if err := os.WriteFile(path, pack(t, ext, part), 0o600); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, FileInput(path))
	}
	return inputs
}

// laneRow returns one of few ids with a price that differs from row to row.
func laneRow(rng *rand.Rand, ids, i int) string {
	zone := []string{"", " +0200 CEST", " +0200", "Z"}[rng.IntN(4)]
	return fmt.Sprintf("%08x-0000-4000-8000-000000000000,%d.5,2018-06-04 06:01:20%s\n", uint32(rng.IntN(ids))*2654435761, i, zone)
}

// Any division of rows into files, compressed or not, gives the bytes of one plain
// input, with any number of workers, in memory or spilled, and for each policy for
// duplicates. Bad rows and rows that are cut are the same too, and so are objects,
// which are read in parts of any length.
func TestLanesMatchOnePlainInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := tiny
		s.chunk = rapid.SampledFrom([]int{256, 1024, 4096}).Draw(t, "chunk")
		n := rapid.IntRange(1, 2000).Draw(t, "rows")
		spill := rapid.IntRange(0, 9).Draw(t, "spill") == 0
		if spill {
			n += 25_000
		}
		ids := max(1, n/rapid.IntRange(1, 20).Draw(t, "repeats"))
		bad := rapid.SampledFrom([]int{0, 0, 10, 500}).Draw(t, "bad")
		cut := rapid.Bool().Draw(t, "cut")
		numFiles := rapid.IntRange(1, 12).Draw(t, "files")
		var all []byte
		var parts [][]byte
		for i, k := 0, 0; k < numFiles; k++ {
			var part []byte
			for hi := n * (k + 1) / numFiles; i < hi; i++ {
				if rng.IntN(n) < bad {
					part = append(part, "bad row\n"...)
				}
				part = append(part, laneRow(rng, ids, i)...)
			}
			all = append(all, part...)
			if cut && len(part) > 0 {
				part = part[:len(part)-1-rng.IntN(6)]
			}
			if rng.IntN(3) == 0 {
				part = append([]byte("id,price,expiration_date\n"), part...)
			}
			parts = append(parts, part)
		}
		exts := rapid.SliceOfN(rapid.SampledFrom([]string{".gz", ".gz", ".zst", ""}), 1, 4).Draw(t, "compression")
		temp, err := os.MkdirTemp("", "lanes")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(temp)
		opts := Options{
			Generation: testGeneration,
			MaxBadRows: int64(rapid.SampledFrom([]int{0, 1 << 30}).Draw(t, "max bad rows")),
			Duplicates: rapid.SampledFrom([]Duplicates{KeepLast, KeepFirst, FailOnDuplicate}).Draw(t, "duplicates"),
		}
		// result is independent of the names of files in different builds.
		result := func(workers int, inputs []Input) (Summary, []byte, error) {
			dir, err := os.MkdirTemp(temp, "data")
			if err != nil {
				t.Fatal(err)
			}
			opts := opts
			opts.Dir, opts.Inputs, opts.Workers, opts.Memory = dir, inputs, workers, 1<<30
			sum, err := buildWith(context.Background(), s, opts)
			if err != nil {
				return sum, nil, err
			}
			file, err := os.ReadFile(sum.File)
			if err != nil {
				t.Fatal(err)
			}
			return sum, file, nil
		}
		inputs := files(t, temp, exts, parts...)
		// One worker reads one lane.
		wantSum, want, wantErr := result(1, inputs)
		if wantErr == nil && !cut {
			_, plain, err := result(1, []Input{stream("plain", all)})
			if err != nil || !bytes.Equal(plain, want) {
				t.Fatalf("one plain input differs, error %v", err)
			}
			if bad == 0 && opts.Duplicates != FailOnDuplicate {
				if got := len(dump(t, plain, ',')); got != len(expect(all, opts.Duplicates)) {
					t.Fatalf("%d rows, want %d", got, len(expect(all, opts.Duplicates)))
				}
			}
		}
		inObjects := asObjects(t, inputs)
		s.part = rapid.SampledFrom([]int{300, 4096, 1 << 20}).Draw(t, "part")
		for i, workers := range []int{2, 3, 4, 1, 2, 3, 4} {
			from := inputs
			if i >= 3 {
				from = inObjects
			}
			sum, got, err := result(workers, from)
			if fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Fatalf("%d workers: error %v\nwant %v", workers, err, wantErr)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d workers: different bytes", workers)
			}
			if err == nil && (sum.Rows != wantSum.Rows || sum.BadRows != wantSum.BadRows || sum.InputBytes != wantSum.InputBytes ||
				!slices.Equal(sum.UnterminatedInputs, wantSum.UnterminatedInputs) || (sum.SpilledBytes > 0) != (wantSum.SpilledBytes > 0)) {
				t.Fatalf("%d workers: %+v\nwant %+v", workers, sum, wantSum)
			}
		}
	})
}

// More files than lanes.
func TestManyCompressedFiles(t *testing.T) {
	const num = 1200
	rng := rand.New(rand.NewPCG(1, 2))
	var parts [][]byte
	for i := range num {
		parts = append(parts, []byte(laneRow(rng, 300, 2*i)+laneRow(rng, 300, 2*i+1)))
	}
	_, want := mustBuild(t, tiny, Options{Inputs: []Input{stream("all", bytes.Join(parts, nil))}})
	inputs := files(t, t.TempDir(), []string{".gz"}, parts...)
	sum, got := mustBuild(t, tiny, Options{Inputs: inputs, Workers: 4})
	if !bytes.Equal(got, want) || sum.Rows != 2*num {
		t.Errorf("different bytes; %+v", sum)
	}
}

func TestPlanLanes(t *testing.T) {
	dir := t.TempDir()
	data := []byte(testRow(1))
	plain := files(t, dir, []string{""}, data, data)
	gz := files(t, dir, []string{".gz"}, slices.Repeat([][]byte{data}, 40)...)
	zst := files(t, dir, []string{".zst"}, slices.Repeat([][]byte{data}, 40)...)
	for name, tc := range map[string]struct {
		inputs      []Input
		workers     int
		memory      int64
		rejects     io.Writer
		lanes, open int
	}{
		"plain":                {inputs: plain, workers: 4, memory: 1 << 30, lanes: 1, open: 1},
		"one compressed":       {inputs: gz[:1], workers: 4, memory: 1 << 30, lanes: 1, open: 1},
		"one compressed of 3":  {inputs: append(plain[:2:2], gz[0]), workers: 4, memory: 1 << 30, lanes: 1, open: 1},
		"two compressed":       {inputs: gz[:2], workers: 4, memory: 1 << 30, lanes: 2, open: 2},
		"two compressed of 4":  {inputs: append(plain[:2:2], gz[0], zst[0]), workers: 4, memory: 1 << 30, lanes: 4, open: 4},
		"one worker":           {inputs: gz, workers: 1, memory: 1 << 30, lanes: 1, open: 1},
		"rejects":              {inputs: gz, workers: 4, memory: 1 << 30, rejects: io.Discard, lanes: 1, open: 1},
		"stream":               {inputs: append(gz[:2:2], stream("x", data)), workers: 4, memory: 1 << 30, lanes: 1, open: 1},
		"gzip":                 {inputs: gz, workers: 4, memory: 1 << 30, lanes: 40, open: 8},
		"gzip, little memory":  {inputs: gz, workers: 16, memory: MinMemory, lanes: 40, open: 9},
		"zstd":                 {inputs: zst, workers: 4, memory: 2 << 30, lanes: 40, open: 8},
		"zstd, less memory":    {inputs: zst, workers: 4, memory: 256 << 20, lanes: 40, open: 2},
		"zstd, minimal memory": {inputs: zst, workers: 4, memory: MinMemory, lanes: 1, open: 1},
	} {
		got := planLanes(&Options{Inputs: tc.inputs, Workers: tc.workers, Memory: tc.memory, Rejects: tc.rejects})
		if got.lanes != tc.lanes || got.open != tc.open {
			t.Errorf("%s: %+v, want %d lanes, %d open", name, got, tc.lanes, tc.open)
		}
	}
}

// Several compressed inputs are open at the same time: the first one blocks until
// the second one has been opened.
func TestCompressedFilesAreReadAtTheSameTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	inputs := files(t, t.TempDir(), []string{".gz"}, []byte(laneRow(rng, 10, 1)), []byte(laneRow(rng, 10, 2)))
	second := make(chan struct{})
	for i := range inputs {
		open := inputs[i].Open
		inputs[i].Open = func() (io.ReadCloser, error) {
			if i == 0 {
				<-second
			} else {
				close(second)
			}
			return open()
		}
	}
	if sum, _ := mustBuild(t, tiny, Options{Inputs: inputs, Workers: 2}); sum.Rows != 2 {
		t.Errorf("summary %+v", sum)
	}
}

// A build of files that have grown far beyond their size ends.
func TestLanesOfGrownFilesEnd(t *testing.T) {
	inputs := files(t, t.TempDir(), []string{".gz"}, []byte(testRow(1)), []byte(testRow(2)), []byte(testRow(3)))
	for i := range inputs {
		inputs[i].Size = -1 << 30 // the bytes that are left
	}
	if sum, _ := mustBuild(t, tiny, Options{Inputs: inputs, Workers: 2}); sum.Rows != 3 {
		t.Errorf("summary %+v", sum)
	}
}

// The last line of an input without a line end waits until all rows of earlier
// inputs have passed, and not if the build has failed.
func TestLastLineWaitsForEarlierInputs(t *testing.T) {
	row := testRow(1)
	opts := Options{Inputs: files(t, t.TempDir(), []string{".gz"}, []byte(row), []byte(row+strings.TrimSuffix(row, "\n")))}
	ctx, cancel := context.WithCancelCause(t.Context())
	l := newLanes(ctx, &opts, lanePlan{lanes: 2, open: 2})
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	worker := newTaker(1024)
	var chunks [2]chunk
	for range 3 {
		s, err := l.acquire(worker)
		if err != nil {
			t.Fatal(err)
		}
		c, ok, err := s.next(worker.buf)
		l.release(s, ok, err)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			chunks[c.lane] = c
		}
	}
	l.passed(chunks[1])
	if s, ended := l.choose(0); s != nil || ended || !l.sources[0].lane.ended || !l.sources[1].ended {
		t.Fatalf("no input that waits: %+v, %+v", l.sources[0].lane, l.sources[1].lane)
	}
	failed := errors.New("failed")
	cancel(failed)
	if ok, err := l.next(worker); ok || !errors.Is(err, failed) {
		t.Errorf("after a failure: %t, error %v", ok, err)
	}
	l.passed(chunks[0])
	if s, _ := l.choose(0); s != l.sources[1] {
		t.Error("the last line still waits")
	}
}

// A damaged file fails the build, also while the last lines of other files wait
// for it. The error names it.
func TestDamagedFileAmongOthersFails(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var parts [][]byte
	for k := range 6 {
		var b strings.Builder
		for i := range 500 {
			b.WriteString(laneRow(rng, 100, 1000*k+i))
		}
		parts = append(parts, []byte(strings.TrimSuffix(b.String(), "\n")))
	}
	for damaged := range parts {
		for _, workers := range []int{1, 2, 4, 8} {
			dir, data := t.TempDir(), t.TempDir()
			inputs := files(t, dir, []string{".gz"}, parts...)
			path := filepath.Join(dir, fmt.Sprint(damaged, ".csv.gz"))
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, whole[:len(whole)-4], 0o600); err != nil {
				t.Fatal(err)
			}
			s := tiny
			s.chunk = 1024
			_, err = buildWith(t.Context(), s, Options{Inputs: inputs, Dir: data, Workers: workers, Memory: 1 << 30})
			var compression *CompressionError
			if !errors.As(err, &compression) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("file %d, %d workers: error %v", damaged, workers, err)
			}
			wantFiles(t, data, ".lock")
		}
	}
}

func TestCancelWhileReadingCompressedFiles(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 20_000})
	inputs := files(t, t.TempDir(), []string{".gz", ".zst"}, slices.Repeat([][]byte{data}, 5)...)
	for _, workers := range []int{2, 4} {
		ctx, cancel := context.WithCancel(t.Context())
		dir := t.TempDir()
		_, err := buildWith(ctx, tiny, Options{Inputs: inputs, Dir: dir, Workers: workers, Memory: 1 << 30, Observe: func(s Status) {
			if s.Rows > 30_000 {
				cancel()
			}
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d workers: error %v", workers, err)
		}
		wantFiles(t, dir, ".lock")
		cancel()
	}
}

// The limit of expansion is that of all inputs together.
func TestExpansionOfSeveralFilesFails(t *testing.T) {
	blank := bytes.Repeat([]byte{'\n'}, maxFree*2/3)
	inputs := files(t, t.TempDir(), []string{".gz"}, blank, blank)
	_, err := Build(t.Context(), Options{Inputs: inputs, Dir: t.TempDir(), Memory: MinMemory, Workers: 2})
	if !errors.Is(err, ErrExpansion) {
		t.Errorf("error %v, want %v", err, ErrExpansion)
	}
}

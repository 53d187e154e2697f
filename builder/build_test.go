package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/synth"
)

// The same rows produce the same bytes: in memory, through the page cache or past
// it, or spilled, with one worker or several, from one input or ten, for all kinds
// of keys.
func TestBuildIsDeterministic(t *testing.T) {
	const rows = 40_000
	for _, kind := range kinds {
		for _, dup := range []Duplicates{KeepLast, KeepFirst} {
			t.Run(fmt.Sprint(kind, "/", dup), func(t *testing.T) {
				data := csvOf(t, synth.DataSet{Keys: synth.Keys{Kind: kind, Seed: 7}, Rows: rows, Duplicates: 3000})
				base := Options{Duplicates: dup, Workers: 1}
				one := base
				one.Inputs = []Input{stream("one", data)}
				sum, want := mustBuild(t, sizesFor(MinMemory, 1), one)
				if sum.Duplicates != 3000 || sum.Records != rows-3000 || sum.SpilledBytes != 0 {
					t.Fatalf("summary %+v", sum)
				}
				if got := dump(t, want, ','); !slices.Equal(got, expect(data, dup)) {
					t.Fatal("wrong rows")
				}
				for _, workers := range []int{1, 2, 3} {
					direct := sizesFor(MinMemory, workers)
					direct.sort.Cached = rows / 2
					for name, s := range map[string]sizes{"memory": sizesFor(MinMemory, workers), "direct": direct, "spilled": tiny} {
						for _, parts := range []int{1, 10} {
							opts := base
							opts.Workers = workers
							opts.Inputs = split(data, parts)
							sum, got := mustBuild(t, s, opts)
							if (name == "spilled") != (sum.SpilledBytes > 0) {
								t.Fatalf("%s, %d workers: %d bytes spilled", name, workers, sum.SpilledBytes)
							}
							if !bytes.Equal(got, want) {
								t.Errorf("%s, %d workers, %d parts: different bytes", name, workers, parts)
							}
						}
					}
				}
			})
		}
	}
}

// One id has more rows than fit into memory.
func TestBuildOfOneID(t *testing.T) {
	row := func(id, i int) string {
		return fmt.Sprintf("%08x-0000-4000-8000-000000000000,%d,2018-06-04 06:01:20\n", id, i)
	}
	var b strings.Builder
	for i := range 60_000 {
		id := 1
		if i%1000 == 999 {
			id = i
		}
		b.WriteString(row(id, i))
	}
	for _, dup := range []Duplicates{KeepLast, KeepFirst} {
		_, file := mustBuild(t, tiny, Options{Inputs: []Input{stream("x", []byte(b.String()))}, Duplicates: dup, Workers: 2})
		if got, want := dump(t, file, ','), expect([]byte(b.String()), dup); !slices.Equal(got, want) {
			t.Errorf("policy %d: got %d rows, want %d; first %q, want %q", dup, len(got), len(want), got[0], want[0])
		}
	}
	_, err := buildWith(t.Context(), tiny, Options{
		Inputs: []Input{stream("x", []byte(b.String()))}, Dir: t.TempDir(), Duplicates: FailOnDuplicate,
	})
	var dups *DuplicatesError
	if !errors.As(err, &dups) || dups.Count != 60_000-60-1 || len(dups.IDs) != 1 || dups.IDs[0] != "00000001-0000-4000-8000-000000000000" {
		t.Errorf("error %v", err)
	}
}

// Each bit of the prefix halves the rest of the ids, so every split leaves one
// child with half of the records.
func TestBuildOfIDsWithCommonPrefixes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, deep := range []int{20, 64, 127} {
		var b strings.Builder
		for i := range 30_000 {
			k := format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}
			shift := uint(rng.IntN(deep))
			if shift >= 64 {
				k = format.Key{Lo: k.Hi >> (shift - 64)}
			} else {
				k = format.Key{Hi: k.Hi >> shift, Lo: k.Lo>>shift | k.Hi<<(64-shift)}
			}
			fmt.Fprintf(&b, "%s,%d.50,2018-06-04 06:01:20\n", k, i)
		}
		data := []byte(b.String())
		want := expect(data, KeepLast)
		for _, s := range []sizes{tiny, inMemory} {
			_, file := mustBuild(t, s, Options{Inputs: []Input{stream("a", data)}, Workers: 2})
			if got := dump(t, file, ','); !slices.Equal(got, want) {
				t.Errorf("prefixes of up to %d bits: wrong rows: got %d, want %d", deep, len(got), len(want))
			}
		}
	}
}

func TestEmptyInput(t *testing.T) {
	for _, data := range []string{"", "\n\r\n", "id,price,expiration_date", "\xef\xbb\xbf"} {
		dir := t.TempDir()
		opts := Options{Inputs: []Input{stream("a", []byte(data))}, Dir: dir, Memory: MinMemory}
		if _, err := Build(t.Context(), opts); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: error %v", data, err)
		}
		wantFiles(t, dir, ".lock")
		opts.AllowEmpty = true
		opts.Inputs = []Input{stream("a", []byte(data))}
		sum, file := mustBuild(t, inMemory, opts)
		if rows := dump(t, file, ','); sum.Records != 0 || len(rows) != 0 {
			t.Errorf("%q: %+v", data, sum)
		}
	}
}

// If all rows are bad and tolerated, the error names the first of them.
func TestInputOfBadRowsOnly(t *testing.T) {
	_, err := Build(t.Context(), Options{Inputs: []Input{stream("a", []byte("x\n"))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: 1})
	if !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "1 field, not the 3") {
		t.Errorf("error %v", err)
	}
}

// A build that is canceled leaves no files and keeps the other generations.
func TestCancelInEachPhase(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 60_000})
	for _, phase := range []Phase{PhaseRead, PhaseSort, PhaseMerge, PhasePublish} {
		dir := t.TempDir()
		mustBuild(t, inMemory, Options{Inputs: []Input{stream("a", data)}, Dir: dir})
		s := tiny
		if phase == PhaseSort {
			s = inMemory
		}
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err := buildWith(ctx, s, Options{
			Inputs: []Input{stream("b", data)}, Dir: dir, Workers: 2,
			Observe: func(st Status) {
				if st.Phase == phase {
					cancel(cause)
				}
			},
		})
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v", phase, err)
		}
		wantFiles(t, dir, ".lock", generation.Name{ID: testGeneration, Shards: 1}.String())
	}
}

func TestBuildOfOldGenerationFails(t *testing.T) {
	dir := t.TempDir()
	data := csvOf(t, synth.DataSet{Rows: 10})
	mustBuild(t, inMemory, Options{Inputs: []Input{stream("a", data)}, Dir: dir})
	_, err := Build(t.Context(), Options{Inputs: []Input{stream("a", data)}, Dir: dir, Memory: MinMemory, Generation: testGeneration})
	if err == nil || !strings.Contains(err.Error(), "would not be the newest") {
		t.Errorf("error %v", err)
	}
}

func TestConcurrentBuildFails(t *testing.T) {
	dir := t.TempDir()
	lock, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Build(t.Context(), Options{Inputs: []Input{synthetic(t, 10, 0)}, Dir: dir, Memory: MinMemory})
	if !errors.Is(err, generation.ErrLocked) {
		t.Errorf("error %v", err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
}

// A build removes the temporary files of killed builds.
func TestBuildSweepsTemporaryFiles(t *testing.T) {
	dir, tmp := t.TempDir(), t.TempDir()
	for _, name := range []string{
		filepath.Join(tmp, ".promobuild-123.spill"),
		filepath.Join(dir, "."+generation.Name{ID: 5, Shards: 1}.String()+".tmp"),
	} {
		if err := os.WriteFile(name, []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustBuild(t, tiny, Options{Inputs: []Input{stream("a", csvOf(t, synth.DataSet{Rows: 30_000}))}, Dir: dir, TempDir: tmp})
	wantFiles(t, tmp)
	wantFiles(t, dir, ".lock", generation.Name{ID: testGeneration, Shards: 1}.String())
}

func TestInvalidOptions(t *testing.T) {
	in := []Input{stream("a", nil)}
	for name, opts := range map[string]Options{
		"no input":      {Memory: MinMemory},
		"no memory":     {Inputs: in, Memory: MinMemory - 1},
		"bad delimiter": {Inputs: in, Memory: MinMemory, Delimiter: '-'},
	} {
		opts.Dir = t.TempDir()
		if _, err := Build(t.Context(), opts); err == nil {
			t.Errorf("%s: no error", name)
		}
		wantFiles(t, opts.Dir)
	}
}

// Options.Publishing is called before the generation exists, and its error
// prevents the publication.
func TestPublishingPrecedesPublication(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{synthetic(t, 1, 0)}}
	var got generation.ID
	refuse := errors.New("no")
	opts.Publishing = func(id generation.ID) error {
		if names := generations(t, opts.Dir); len(names) > 0 {
			t.Errorf("called after the publication of %v", names)
		}
		got = id
		return refuse
	}
	if _, err := Build(t.Context(), opts); !errors.Is(err, refuse) {
		t.Errorf("error %v, want %v", err, refuse)
	}
	if names := generations(t, opts.Dir); len(names) > 0 {
		t.Errorf("generations %v, want none", names)
	}
	refuse, opts.Inputs = nil, []Input{synthetic(t, 1, 0)}
	sum, err := Build(t.Context(), opts)
	if err != nil || sum.Generation != got.String() {
		t.Errorf("generation %s, error %v; Publishing got %s", sum.Generation, err, got)
	}
}

func TestBuildRefusesFutureGeneration(t *testing.T) {
	dir := t.TempDir()
	opts := Options{Dir: dir, Memory: MinMemory, Generation: generation.IDOf(time.Now().Add(2 * time.Hour)), Inputs: []Input{synthetic(t, 10, 0)}}
	if _, err := Build(t.Context(), opts); !errors.Is(err, generation.ErrFuture) {
		t.Errorf("error %v, want %v", err, generation.ErrFuture)
	}
	wantFiles(t, dir, ".lock")
	opts.AllowFuture = true
	if _, err := Build(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	// The next build has the ID of its time and becomes live.
	began := time.Now().Truncate(time.Millisecond)
	sum, err := Build(t.Context(), Options{Dir: dir, Memory: MinMemory, Inputs: []Input{synthetic(t, 11, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := generation.ParseID(sum.Generation)
	if err != nil || id.Time().Before(began) || id.Time().After(time.Now()) {
		t.Errorf("generation %s, %v; want one of now", sum.Generation, err)
	}
	if live, _, err := new(generation.Checker).Live(dir); err != nil || live.ID != id {
		t.Errorf("live generation %s, %v; want %s", live.ID, err, id)
	}
}

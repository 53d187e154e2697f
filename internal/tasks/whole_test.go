package tasks

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/transfer"
)

// dates are one time in several timestamp styles.
var dates = []string{
	"2022-06-04 06:01:20 +0200 CEST", "2022-06-04 06:01:20", "2022-06-04T04:01:20Z", "2022-06-04T06:01:20+02:00",
	"2022-06-04 04:01:20 +0000 UTC", "2022-06-04 01:01:20 -0300 -03",
}

// randomCSV returns up to 2,000 rows, some of which are bad, of the same 3,000 ids.
func randomCSV(r *rand.Rand) []byte {
	var b bytes.Buffer
	if r.IntN(2) == 0 {
		b.WriteString("id,price,expiration_date\n")
	}
	styles := 1 + r.IntN(len(dates))
	for range r.IntN(4) * r.IntN(700) {
		if r.IntN(200) == 0 {
			fmt.Fprintf(&b, "bad row %d\n", r.IntN(1000))
			continue
		}
		n := uint64(r.IntN(3000)) * 0x9e3779b97f4a7c15
		fmt.Fprintf(&b, "%08x-0000-4000-8000-%012x,%d.%02d,%s\n", n>>32, n&0xffffffffffff, r.IntN(100), r.IntN(100), dates[r.IntN(styles)])
	}
	return b.Bytes()
}

// compressed returns data plain, or compressed.
func compressed(t testing.TB, r *rand.Rand, data []byte) (_ []byte, ext string) {
	t.Helper()
	var b bytes.Buffer
	switch r.IntN(4) {
	case 0:
		w := gzip.NewWriter(&b)
		_, err := w.Write(data)
		must(t, errors.Join(err, w.Close()))
		return b.Bytes(), ".csv.gz"
	case 1:
		w, err := zstd.NewWriter(&b)
		must(t, err)
		_, err = w.Write(data)
		must(t, errors.Join(err, w.Close()))
		return b.Bytes(), ".csv.zst"
	}
	return data, ".csv"
}

// build builds the sources in one process.
func build(t testing.TB, dir string, opts MakeOptions) (builder.Summary, error) {
	t.Helper()
	p := opts.Policies
	o := builder.Options{
		Dir: dir, Generation: opts.Generation, AllowFuture: true, Sharding: opts.Sharding, Memory: builder.MinMemory,
		Duplicates: policyNames[p.Duplicates], MaxBadRows: p.MaxBadRows, Guards: *p.guards(), RequireFinalNewline: p.RequireFinalNewline,
	}
	for _, s := range opts.Inputs {
		o.Inputs = append(o.Inputs, builder.ObjectInput(s.Store, s.Object))
	}
	return builder.Build(context.Background(), o)
}

// contents returns the files of a generation in a directory by name.
func contents(t testing.TB, dir string, id generation.ID) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, path := range filesIn(t, dir) {
		if name, err := generation.ParseName(filepath.Base(path)); err != nil || name.ID != id {
			continue
		}
		text, err := os.ReadFile(path)
		must(t, err)
		files[filepath.Base(path)] = string(text)
	}
	return files
}

func (s site) out(t testing.TB) transfer.Location {
	t.Helper()
	out, err := transfer.Parse(s.url+"/out", s.opts)
	must(t, err)
	return out
}

// pulled returns the files of the newest generation that a new node receives.
func (s site) pulled(t testing.TB) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	pulled, err := s.out(t).Pull(context.Background(), dir, transfer.PullOptions{Keep: 1, Digits: generation.AllDigits})
	must(t, err)
	if sum, err := generation.ReadSummary(dir, pulled.New[0]); err != nil || sum.Source != generation.SourceCommand || sum.NumInputs == 0 {
		t.Errorf("summary %+v, %v", sum, err)
	}
	return contents(t, dir, pulled.New[0])
}

// wantFiles compares the files of two directories by name.
func wantFiles(t testing.TB, got, want map[string]string) {
	t.Helper()
	if names, wantNames := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(names, wantNames) {
		t.Fatalf("files %v, want %v", names, wantNames)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs from one build", name)
		}
	}
}

// everyTask runs n tasks in a random order, a third of them twice at the same time.
func everyTask(t testing.TB, r *rand.Rand, n int, task func(i int) error) {
	t.Helper()
	order := r.Perm(n)
	order = append(order, order[:n/3]...)
	r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	next := make(chan int)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			var err error
			for i := range next {
				err = errors.Join(err, task(i))
			}
			errs <- err
		}()
	}
	for _, i := range order {
		next <- i
	}
	close(next)
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// tasks runs all tasks of a plan but publish.
func (s site) tasks(t testing.TB, r *rand.Rand, p *Plan) {
	t.Helper()
	opts := taskOptions(t)
	everyTask(t, r, len(p.Splits), func(i int) error {
		_, err := p.Split(context.Background(), i, opts, nil)
		return err
	})
	everyTask(t, r, p.Shards, func(i int) error {
		_, err := p.Merge(context.Background(), i, opts, nil)
		return err
	})
	if left := filesIn(t, opts.TempDir); len(left) > 0 {
		t.Errorf("the tasks left %v", left)
	}
}

// The tasks of a plan publish the bytes and the numbers of one build.
func TestTasksPublishTheBytesOfOneBuild(t *testing.T) { eachSite(t, testTasks) }

func testTasks(t *testing.T, s site) {
	for i := range 4 {
		seed := uint64(time.Now().UnixNano()) + uint64(i)
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			s := s
			s.url += fmt.Sprintf("/%d", i)
			opts := s.makeOptions()
			opts.Sharding = []format.Sharding{format.Unsharded, sharding16, {Rule: format.ShardFirst, Shards: 32}}[r.IntN(3)]
			opts.Policies.Duplicates = []string{"last", "first"}[r.IntN(2)]
			opts.Policies.MaxBadRows, opts.Policies.AllowEmpty = 1_000_000, true
			opts.SplitSize = 1 << (14 + r.IntN(5))
			for j := range 1 + r.IntN(5) {
				data, ext := compressed(t, r, randomCSV(r))
				opts.Inputs = append(opts.Inputs, s.put(t, fmt.Sprintf("%d%s", j, ext), data))
			}
			dir := t.TempDir()
			want, err := build(t, dir, opts)
			must(t, err)
			p := makePlan(t, opts)
			t.Logf("%d splits, %s by %s", len(p.Splits), opts.Sharding.Rule, opts.Policies.Duplicates)
			s.tasks(t, r, p)
			if visible := s.visible(t); len(visible) > 0 {
				t.Fatalf("before publish, %v is visible", visible)
			}
			var wait sync.WaitGroup
			var results [2]PublishResult
			for i := range results {
				wait.Go(func() {
					var err error
					if results[i], err = p.Publish(context.Background(), 0); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			again, err := p.Publish(context.Background(), 1)
			must(t, err)
			for _, r := range append(results[:], again) {
				if !reflect.DeepEqual(r.Published, again.Published) {
					t.Errorf("two calls of Publish: %+v and %+v", r.Published, again.Published)
				}
			}
			wantFiles(t, s.pulled(t), contents(t, dir, opts.Generation))
			wantSummary(t, again.Summary, want)
		})
	}
}

// visible returns the generations with a manifest.
func (s site) visible(t testing.TB) []generation.ID {
	t.Helper()
	visible, _, err := s.out(t).Generations(context.Background())
	must(t, err)
	return visible
}

// wantSummary compares the summary of tasks with that of a build.
func wantSummary(t testing.TB, got, want builder.Summary) {
	t.Helper()
	if filepath.Base(got.File) != filepath.Base(want.File) {
		t.Errorf("file %s, want %s", got.File, want.File)
	}
	for _, s := range []*builder.Summary{&got, &want} {
		s.File, s.Files, s.Lines, s.Seconds, s.Phases, s.SpilledBytes, s.PeakRSSBytes = "", nil, nil, 0, nil, 0, 0
		if len(s.UnterminatedInputs) == 0 {
			s.UnterminatedInputs = nil
		}
		s.Bad = slices.Clip(append([]builder.BadRow{}, s.Bad...))
		for i := range s.Bad {
			s.Bad[i].Index = 0
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("summary\n%+v, want\n%+v", got, want)
	}
}

package tasks

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

// splitAll runs all splits of a plan.
func splitAll(t testing.TB, p *Plan) {
	t.Helper()
	for i := range p.Splits {
		_, err := p.Split(context.Background(), i, taskOptions(t), nil)
		must(t, err)
	}
}

// mergeAll runs all merges of a plan.
func mergeAll(t testing.TB, p *Plan) {
	t.Helper()
	for i := range p.Shards {
		_, err := p.Merge(context.Background(), i, taskOptions(t), nil)
		must(t, err)
	}
}

// planned returns a plan of a few splits, and the files of one build.
func (s site) planned(t testing.TB) (*Plan, map[string]string) {
	t.Helper()
	opts := s.makeOptions(s.put(t, "in.csv", []byte(rows(0, 2000, "1")+rows(100, 300, "2"))))
	opts.SplitSize = 64 << 10
	dir := t.TempDir()
	_, err := build(t, dir, opts)
	must(t, err)
	p := makePlan(t, opts)
	if len(p.Splits) < 2 {
		t.Fatalf("%d splits", len(p.Splits))
	}
	return p, contents(t, dir, opts.Generation)
}

// Merges need all splits, and publish needs all merges. Both name the missing ones,
// and may be tried again.
func TestMissingTasksAreNamed(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		n := len(p.Splits)
		for i := range n - 1 {
			_, err := p.Split(t.Context(), i, taskOptions(t), nil)
			must(t, err)
		}
		wantMissing := func(err error, kind string, missing ...int) {
			t.Helper()
			var e *MissingError
			if !errors.As(err, &e) || e.Kind != kind || !slices.Equal(e.Missing, missing) || IsPermanent(err) {
				t.Errorf("error %v, want the missing %ss %v", err, kind, missing)
			}
		}
		_, err := p.Merge(t.Context(), 0, taskOptions(t), nil)
		wantMissing(err, "split", n-1)
		_, err = p.Split(t.Context(), n-1, taskOptions(t), nil)
		must(t, err)
		for i := range p.Shards {
			if i != 3 && i != 7 {
				_, err := p.Merge(t.Context(), i, taskOptions(t), nil)
				must(t, err)
			}
		}
		_, err = p.Publish(t.Context(), 0)
		wantMissing(err, "merge", 3, 7)
		if text := err.Error(); text != "2 of 16 merges are not done: 3, 7" {
			t.Error(text)
		}
		mergeAll(t, p)
		_, err = p.Publish(t.Context(), 0)
		must(t, err)
		wantFiles(t, s.pulled(t), want)
	})
}

// A merge that is done does nothing, unless its file is gone. One that does not
// exist is no error.
func TestMergeIsIdempotent(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		splitAll(t, p)
		out := s.folder(t, "out")
		name := p.fileName(3)
		for i, earlier := range []bool{false, true, true, true} {
			r, err := p.Merge(t.Context(), 3, taskOptions(t), nil)
			must(t, err)
			if r.Earlier != earlier || r.Records == 0 {
				t.Errorf("call %d: %+v", i, r)
			}
			if got := s.read(t, out, name); got != want[name] {
				t.Errorf("call %d: the file differs from one build", i)
			}
			if i == 1 {
				must(t, out.store.Delete(t.Context(), out.prefix+name))
			}
		}
		none, err := p.Merge(t.Context(), 16, taskOptions(t), nil)
		if err != nil || none.MergeDone != nil {
			t.Errorf("%+v, %v", none, err)
		}
		if _, err := p.Merge(t.Context(), -1, taskOptions(t), nil); !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
		if keys := s.keys(t, "out"); !slices.Equal(keys, []string{name}) {
			t.Errorf("Out has %v", keys)
		}
	})
}

func (s site) read(t testing.TB, f folder, name string) string {
	t.Helper()
	text, err := objects.ReadAll(context.Background(), f.store, f.prefix+name, math.MaxInt64)
	must(t, err)
	return string(text)
}

// A file of the same name and other content is not replaced, and no other attempt
// can help.
func TestMergeReplacesNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		splitAll(t, p)
		out := s.folder(t, "out")
		name := p.fileName(3)
		for _, text := range []string{"other", strings.Repeat("x", len(want[name]))} {
			_, err := out.store.Put(t.Context(), out.prefix+name, strings.NewReader(text), int64(len(text)), objects.Always)
			must(t, err)
			o := taskOptions(t)
			if _, err := p.Merge(t.Context(), 3, o, nil); !errors.Is(err, transfer.ErrConflict) || !IsPermanent(err) {
				t.Errorf("error %v", err)
			}
			if got := s.read(t, out, name); got != text {
				t.Error("the other file is gone")
			}
			if keys, left := s.keys(t, "out"), filesIn(t, o.TempDir); len(keys) != 1 || len(left) > 0 {
				t.Errorf("Out has %v, the temporary directory %v", keys, left)
			}
		}
	})
}

// A run that is gone may come back. One that was replaced is not merged.
func TestMergeReadsTheRunsOfTheSplits(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, _ := s.planned(t)
		splitAll(t, p)
		done, err := p.readSplitDone(t.Context(), 1)
		must(t, err)
		f := p.dir.sub(splitName(1)).sub(done.Attempt)
		run := []byte(s.read(t, f, done.Files[3].Name))
		must(t, f.store.Delete(t.Context(), f.prefix+done.Files[3].Name))
		o := taskOptions(t)
		if _, err := p.Merge(t.Context(), 3, o, nil); !errors.Is(err, objects.ErrNotFound) || IsPermanent(err) {
			t.Errorf("a missing run: %v", err)
		}
		run[len(run)/2] ^= 1
		_, err = f.store.Put(t.Context(), f.prefix+done.Files[3].Name, bytes.NewReader(run), int64(len(run)), objects.Always)
		must(t, err)
		if _, err := p.Merge(t.Context(), 3, o, nil); !errors.Is(err, objects.ErrChanged) || !IsPermanent(err) {
			t.Errorf("a replaced run: %v", err)
		}
		if keys, left := s.keys(t, "out"), filesIn(t, o.TempDir); len(keys) > 0 || len(left) > 0 {
			t.Errorf("Out has %v, the temporary directory %v", keys, left)
		}
	})
}

// A straggler that goes on after the plan was published and swept does not change
// the published files, and the next sweep removes the files that it leaves.
func TestStragglersChangeNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		type straggler struct {
			stopped, ended chan struct{}
			goOn           chan struct{}
		}
		start := func(task func(observe func(builder.Status)) error) straggler {
			x := straggler{make(chan struct{}), make(chan struct{}), make(chan struct{})}
			first := true
			go func() {
				defer close(x.ended)
				// A straggler of a swept plan may fail; it must not harm.
				err := task(func(builder.Status) {
					if first {
						first = false
						close(x.stopped)
						<-x.goOn
					}
				})
				t.Logf("a straggler ends with: %v", err)
			}()
			select {
			case <-x.stopped:
			case <-x.ended:
				t.Fatal("the task ended early")
			}
			return x
		}
		split := func(observe func(builder.Status)) error {
			_, err := p.Split(context.Background(), 1, taskOptions(t), observe)
			return err
		}
		merge := func(observe func(builder.Status)) error {
			_, err := p.Merge(context.Background(), 3, taskOptions(t), observe)
			return err
		}
		stragglers := []straggler{start(split)}
		splitAll(t, p)
		stragglers = append(stragglers, start(merge), start(merge))
		mergeAll(t, p)
		_, err := p.Publish(t.Context(), 0)
		must(t, err)
		goOn := func(x straggler) {
			close(x.goOn)
			<-x.ended
			wantFiles(t, s.pulled(t), want)
		}
		goOn(stragglers[1])
		for range 2 {
			_, err = Sweep(t.Context(), s.url+"/work", s.opts, 0)
			must(t, err)
			if keys := s.keys(t, "work"); len(keys) > 0 {
				t.Errorf("after the sweep, Work has %v", keys)
			}
			if stragglers[0].goOn != nil {
				goOn(stragglers[0])
				goOn(stragglers[2])
				stragglers[0].goOn = nil
			}
		}
		if keys := s.keys(t, "out"); len(keys) != len(want)+2 { // and the manifest and the summary
			t.Errorf("Out has %v", keys)
		}
	})
}

// The tasks succeed although requests fail, connections are cut and answers are
// lost, also those of conditional requests that succeeded.
func TestTasksSurviveFaultsOfStorage(t *testing.T) { testFaults(t, newS3Site(t)) }

func testFaults(t *testing.T, s site) {
	p, want := s.planned(t)
	puts := func(r *http.Request) bool { return r.Method == http.MethodPut }
	conditional := func(r *http.Request) bool { return puts(r) && r.Header.Get("If-None-Match") != "" }
	s.server.Fail(chain(
		objecttest.Every(29, func(*http.Request) bool { return true }, objecttest.SlowDown()),
		objecttest.Every(19, objecttest.Gets, objecttest.Cut(2000)),
		objecttest.Every(23, puts, objecttest.Lost()),
		objecttest.Every(5, conditional, objecttest.Lost()),
	))
	s.tasks(t, rand.New(rand.NewPCG(1, 2)), p)
	for i := range 2 {
		r, err := p.Publish(t.Context(), 0)
		must(t, err)
		if r.Records != 2000 {
			t.Errorf("call %d: %+v", i, r.Published)
		}
	}
	s.server.Fail(nil)
	wantFiles(t, s.pulled(t), want)
	attempts := map[string]bool{}
	for _, key := range s.keys(t, "work") {
		if strings.Contains(key, "/split-") && strings.HasSuffix(key, ".pgen") {
			attempts[path.Dir(key)] = true
		}
	}
	if len(attempts) != len(p.Splits) {
		t.Errorf("attempts %v remain of %d splits", attempts, len(p.Splits))
	}
}

// chain applies all faults: the first one that matches a request answers it.
func chain(faults ...objecttest.Fault) objecttest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		for _, f := range slices.Backward(faults) {
			then := next
			next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f(w, r, then) })
		}
		next.ServeHTTP(w, r)
	}
}

// Publish reports generations and pins that hold the new one back, and prunes.
func TestPublishReportsWhatNodesPrefer(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "in.csv", []byte(rows(0, 100, "1"))))
		publish := func(id generation.ID, keep int) PublishResult {
			opts.Generation = id
			p := makePlan(t, opts)
			splitAll(t, p)
			mergeAll(t, p)
			r, err := p.Publish(t.Context(), keep)
			must(t, err)
			return r
		}
		if r := publish(testID+1, 1); r.Newer != 0 || r.Pin.Active || len(r.Removed) > 0 {
			t.Errorf("%+v", r)
		}
		if r := publish(testID, 0); r.Newer != testID+1 || len(r.Removed) > 0 {
			t.Errorf("%+v", r)
		}
		pin, err := generation.Pin{Active: true, ID: testID}.MarshalJSON()
		must(t, err)
		out := s.folder(t, "out")
		_, err = out.store.Put(t.Context(), out.prefix+generation.PinName, bytes.NewReader(pin), int64(len(pin)), objects.Always)
		must(t, err)
		if r := publish(testID+2, 1); r.Newer != 0 || r.Pin.ID != testID || !slices.Equal(r.Removed, []generation.ID{testID + 1}) {
			t.Errorf("%+v", r)
		}
	})
}

// Publish deletes old generations, but no files of an older plan whose merges are under
// way. After that plan is gone, it deletes them.
func TestPublishKeepsPlansUnderWay(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "a.csv", []byte(rows(0, 100, "1"))))
		plan := func(id generation.ID) *Plan {
			t.Helper()
			opts.Generation = id
			p := makePlan(t, opts)
			splitAll(t, p)
			mergeAll(t, p)
			return p
		}
		wantRemoved := func(p *Plan, want ...generation.ID) {
			t.Helper()
			r, err := p.Publish(t.Context(), 1)
			must(t, err)
			if !slices.Equal(r.Removed, want) {
				t.Errorf("publish removed %v, want %v", r.Removed, want)
			}
		}
		wantRemoved(plan(testID))
		abandoned, slow := plan(testID+1), plan(testID+2)
		must(t, abandoned.dir.removeAll(t.Context()))
		wantRemoved(plan(testID+3), testID, testID+1)
		wantRemoved(plan(testID+4), testID+3)
		wantRemoved(slow) // servers prefer the newer one, but it is there
		wantRemoved(plan(testID+5), testID+2, testID+4)
	})
}

// A generation is published although the pin is damaged, which is an error that does
// not pass, and prevents a plan with limits.
func TestPublishReportsADamagedPin(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		splitAll(t, p)
		mergeAll(t, p)
		damage := func(name string) {
			t.Helper()
			out := s.folder(t, "out")
			_, err := out.store.Put(t.Context(), out.prefix+name, strings.NewReader("pin"), 3, objects.Always)
			must(t, err)
		}
		damage(generation.PinName)
		for range 2 {
			if _, err := p.Publish(t.Context(), 0); !errors.Is(err, generation.ErrPin) || !IsPermanent(err) {
				t.Errorf("error %v", err)
			}
		}
		opts := s.makeOptions(s.put(t, "a.csv", nil))
		opts.Generation++
		opts.Policies.MaxShrink = 5
		if _, err := Make(t.Context(), opts); !errors.Is(err, generation.ErrPin) || !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
		out := s.folder(t, "out")
		must(t, out.store.Delete(t.Context(), out.prefix+generation.PinName))
		wantFiles(t, s.pulled(t), want)
		damage("promotions-" + p.Generation + ".json")
		if _, err := Make(t.Context(), opts); !errors.Is(err, transfer.ErrManifest) || !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
	})
}

// A file that disappears from Out before publish can be merged again.
func TestPublishNeedsTheFilesInOut(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, want := s.planned(t)
		splitAll(t, p)
		mergeAll(t, p)
		out := s.folder(t, "out")
		must(t, out.store.Delete(t.Context(), out.prefix+p.fileName(5)))
		if _, err := p.Publish(t.Context(), 0); !errors.Is(err, generation.ErrIncomplete) || IsPermanent(err) {
			t.Errorf("error %v", err)
		}
		if visible := s.visible(t); len(visible) > 0 {
			t.Errorf("visible: %v", visible)
		}
		mergeAll(t, p)
		_, err := p.Publish(t.Context(), 0)
		must(t, err)
		wantFiles(t, s.pulled(t), want)
	})
}

// An interrupted merge leaves nothing, wherever it is.
func TestInterruptedMergeLeavesNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		opts := s.makeOptions(s.put(t, "in.csv", []byte(rows(0, 2000, "1"))))
		live, err := build(t, t.TempDir(), opts)
		must(t, err)
		s.push(t, live)
		opts.Generation++
		opts.Policies.MaxRemoved = 50
		opts.SplitSize = 64 << 10
		p := makePlan(t, opts)
		splitAll(t, p)
		before := s.keys(t, "out")
		canceled := errors.New("canceled by the test")
		interrupted := 0
		for after := 0; ; after++ {
			ctx, cancel := context.WithCancelCause(t.Context())
			o := taskOptions(t)
			_, err := p.Merge(&countedContext{Context: ctx, n: after, cancel: func() { cancel(canceled) }}, 3, o, nil)
			if left := filesIn(t, o.TempDir); len(left) > 0 {
				t.Errorf("after %d looks at the context, the temporary directory has %v", after, left)
			}
			if err == nil {
				break
			}
			interrupted++
			if !errors.Is(err, canceled) && !errors.Is(err, context.Canceled) || IsPermanent(err) {
				t.Errorf("after %d looks at the context: %v, permanent: %v", after, err, IsPermanent(err))
			}
			if keys := s.keys(t, "out"); !slices.Equal(keys, before) && len(keys) != len(before)+1 { // the last step is done.json
				t.Errorf("after %d looks at the context, Out has %v", after, keys)
			}
		}
		if interrupted < 10 {
			t.Errorf("%d merges were interrupted", interrupted)
		}
	})
}

// A countedContext is canceled when it is asked for the n-th time.
type countedContext struct {
	context.Context
	n      int
	cancel func()
	asked  atomic.Int64
}

func (c *countedContext) Err() error {
	if c.asked.Add(1) > int64(c.n) {
		c.cancel()
	}
	return c.Context.Err()
}

func (c *countedContext) Done() <-chan struct{} {
	if c.asked.Add(1) > int64(c.n) {
		c.cancel()
	}
	return c.Context.Done()
}

// A summary that cannot be written does not keep the generation from nodes.
func TestPublishWithoutItsSummary(t *testing.T) {
	s := newDirSite(t)
	p, want := s.planned(t)
	splitAll(t, p)
	mergeAll(t, p)
	must(t, os.MkdirAll(filepath.Join(s.url, "out", generation.SummaryName(p.id), "x"), 0o755))
	_, err := p.Publish(t.Context(), 0)
	must(t, err)
	dir := t.TempDir()
	_, err = s.out(t).Pull(t.Context(), dir, transfer.PullOptions{Keep: 1, Digits: generation.AllDigits})
	must(t, err)
	wantFiles(t, contents(t, dir, p.id), want)
}

// A published.json of another plan, or one that is not valid, is not believed.
func TestPublishChecksItsSummary(t *testing.T) {
	s := newDirSite(t)
	p, _ := s.planned(t)
	for _, text := range []string{
		``, `{`, `{"version":2}`, `{"version":1}`, `{"version":1,"plan":"` + p.digest + `"}`,
		`{"version":1,"plan":"` + p.digest + `","generation":"` + p.Generation + `","shards":16,"shard_by":"last"}`,
		`{"version":1,"plan":"` + p.digest + `","generation":"` + p.Generation + `","shards":0,"shard_by":"last","largest_shard":{"shard":1,"records":2000}}`,
	} {
		_, err := p.dir.store.Put(t.Context(), p.dir.prefix+publishedName, strings.NewReader(text), int64(len(text)), objects.Always)
		must(t, err)
		if r, err := p.Publish(t.Context(), 0); !errors.Is(err, ErrFormat) || !IsPermanent(err) {
			t.Errorf("%q: %+v, %v", text, r.Published, err)
		}
	}
}

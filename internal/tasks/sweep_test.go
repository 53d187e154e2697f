package tasks

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/objecttest"
	"promostore/internal/synth"
)

// leave writes objects below the work folder of a site.
func (s site) leave(t *testing.T, keys ...string) {
	t.Helper()
	f := s.folder(t, "work")
	for _, key := range keys {
		_, err := f.putJSON(t.Context(), key, 1)
		must(t, err)
	}
}

// under prepends the folder of a generation to keys.
func under(id generation.ID, keys ...string) (list []string) {
	for _, key := range keys {
		list = append(list, id.String()+"/"+key)
	}
	return list
}

// Sweep removes the work files of published plans, the folders of abandoned ones, and
// what stragglers left of old generations. It keeps everything else.
func TestSweep(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		recent := generation.IDOf(time.Now().Add(-time.Minute)) // S3 counts seconds
		const old = testID                                      // planned now, though
		keep := slices.Concat(
			under(recent, "plan.json", "split-00000/done.json", "split-00000/0123456789abcdef/x.pgen"),
			under(old, "plan.json", "split-00001/done.json"),
			under(recent+1, "split-00000/0123456789abcdef/x.pgen"), // a straggler of a young one
			under(recent+2, "plan.json", "published.json"),
			[]string{"other", "20261122/plan.json", "20261122T103000123/published.json", recent.String() + "x/published.json", "sub/" + recent.String() + "/published.json"},
		)
		remove := slices.Concat(
			under(recent+2, "split-00000/done.json", "split-00001/0123456789abcdef/x.pgen", "merge-00000/done.json"),
			under(recent+3, "published.json"),                                            // a killed sweep
			under(old+1, "split-00000/0123456789abcdef/x.pgen", "split-00000/done.json"), // a straggler
		)
		s.leave(t, slices.Concat(keep, remove)...)
		work := s.folder(t, "work")
		if dir := work.sub((old + 1).String()); work.isLocal() {
			must(t, os.Chtimes(dir.path, time.Time{}, time.Now().Add(-2*time.Hour)))
		}
		slices.Sort(keep)
		for _, want := range [][]generation.ID{{old + 1, recent + 2, recent + 3}, nil} {
			swept, err := sweep(t.Context(), work, time.Hour, 0)
			must(t, err)
			if !slices.Equal(swept, want) {
				t.Errorf("swept %v, want %v", swept, want)
			}
			if got := s.keys(t, "work"); !slices.Equal(got, keep) {
				t.Errorf("%q remain, want %q", got, keep)
			}
		}
		if work.isLocal() {
			if _, err := os.Stat(filepath.Join(work.path, (recent + 3).String())); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder remains: %v", err)
			}
		}

		swept, err := sweep(t.Context(), work, 0, recent)
		must(t, err)
		if want := []generation.ID{old, recent + 1, recent + 2}; !slices.Equal(swept, want) {
			t.Errorf("swept %v, want %v", swept, want)
		}
		for _, key := range s.keys(t, "work") {
			id, err := generation.ParseID(key[:strings.IndexByte(key+"/", '/')])
			if err == nil && id != recent {
				t.Errorf("%s remains", key)
			}
		}
	})
}

// A sweep keeps the directory of an old generation in which a plan begins to write.
func TestSweepKeepsNewDirectories(t *testing.T) {
	work := newDirSite(t).folder(t, "work")
	dir := work.sub(testID.String())
	must(t, os.MkdirAll(dir.path, 0o755))
	swept, err := sweep(t.Context(), work, time.Hour, 0)
	must(t, err)
	if _, err := os.Stat(dir.path); err != nil || len(swept) > 0 {
		t.Errorf("swept %v: %v", swept, err)
	}
}

// A plan is not abandoned while its tasks are done, or while it is made again.
func TestSweepKeepsActivePlans(t *testing.T) {
	s := newDirSite(t)
	opts := s.makeOptions(s.put(t, "a.csv", []byte(rows(0, 2000, "1"))))
	opts.SplitSize = 64 << 10
	p := makePlan(t, opts)
	done := []string{"split-00001/done.json", "merge-00007/done.json"}
	s.leave(t, under(testID, done...)...)
	age := func(name string) {
		t.Helper()
		old := time.Now().Add(-2 * DefaultAbandoned)
		must(t, os.Chtimes(filepath.Join(p.dir.path, name), old, old))
	}
	age(planName)
	opts.Generation = 0
	for _, name := range done {
		if made, err := Make(t.Context(), opts); err != nil || len(made.Removed) > 0 {
			t.Errorf("removed %v before %s is old: %v", made.Removed, name, err)
		}
		age(name)
	}
	opts.Generation = testID
	if again, err := Make(t.Context(), opts); err != nil || again.New || len(again.Removed) > 0 {
		t.Errorf("%+v: %v", again, err)
	}
	opts.Generation = 0
	if made, err := Make(t.Context(), opts); err != nil || !slices.Equal(made.Removed, []generation.ID{testID}) {
		t.Errorf("removed %v after all files are old: %v", made.Removed, err)
	}
}

// The age of a plan does not depend on the clock of the machine that sweeps.
func TestSweepUsesTheClockOfTheStore(t *testing.T) {
	for _, skew := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		s := newS3Site(t)
		s.server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(skewed{w, skew}, r)
		})
		recent := generation.IDOf(time.Now())
		s.leave(t, under(recent, "plan.json", "split-00000/done.json")...)
		for _, after := range []time.Duration{DefaultAbandoned, 0} {
			swept, err := Sweep(t.Context(), s.url+"/work", s.opts, after)
			must(t, err)
			if len(swept) > 0 != (after == 0) {
				t.Errorf("skew %s, abandoned after %s: swept %v", skew, after, swept)
			}
		}
	}
}

// A skewed ResponseWriter changes the times of objects.
type skewed struct {
	http.ResponseWriter
	skew time.Duration
}

func (s skewed) WriteHeader(status int) {
	if modified, err := http.ParseTime(s.Header().Get("Last-Modified")); err == nil {
		s.Header().Set("Last-Modified", modified.Add(s.skew).Format(http.TimeFormat))
	}
	s.ResponseWriter.WriteHeader(status)
}

// Attempts that begin after a sweep of the published plan have nothing to do. They
// fail for good after the plan is gone.
func TestRetriesAfterSweep(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p, _ := s.planned(t)
		splitAll(t, p)
		mergeAll(t, p)
		_, err := p.Publish(t.Context(), 0)
		must(t, err)
		before := s.keys(t, "out")
		must(t, p.dir.store.Delete(t.Context(), p.dir.prefix+publishedName)) // killed after the manifest
		sweepWork := func(after time.Duration) {
			t.Helper()
			_, err := Sweep(t.Context(), s.url+"/work", s.opts, after)
			must(t, err)
		}
		sweepWork(DefaultAbandoned)
		first, err := p.Publish(t.Context(), 0)
		must(t, err)
		for range 2 {
			sweepWork(DefaultAbandoned)
			if got, want := s.keys(t, "work"), under(testID, planName, publishedName); !slices.Equal(got, want) {
				t.Errorf("%q remain, want %q", got, want)
			}
			p, err := Load(t.Context(), p.URL(), s.opts)
			must(t, err)
			if r, err := p.Split(t.Context(), 0, taskOptions(t), nil); err != nil || !r.Earlier || r.SplitDone != nil {
				t.Errorf("split: %+v, %v", r, err)
			}
			if r, err := p.Merge(t.Context(), 3, taskOptions(t), nil); err != nil || !r.Earlier || r.MergeDone != nil {
				t.Errorf("merge: %+v, %v", r, err)
			}
			if r, err := p.Publish(t.Context(), 1); err != nil || !reflect.DeepEqual(r.Published, first.Published) {
				t.Errorf("publish: %+v, %v", r, err)
			}
		}
		if after := s.keys(t, "out"); !slices.Equal(after, before) {
			t.Errorf("Out has %q, want %q", after, before)
		}
		sweepWork(0)
		if _, err := Load(t.Context(), p.URL(), s.opts); !errors.Is(err, ErrNoPlan) || !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
	})
}

// A plan sweeps other ones, but not those that are active.
func TestMakeSweeps(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		recent := generation.IDOf(time.Now())
		s.leave(t, slices.Concat(under(recent, "plan.json", "published.json", "split-00000/done.json"), under(recent-1, "plan.json"))...)
		opts := s.makeOptions(s.put(t, "a.csv", []byte("x")))
		opts.Generation = recent + 1
		made, err := Make(t.Context(), opts)
		must(t, err)
		if !slices.Equal(made.Removed, []generation.ID{recent}) || made.Sweep != nil {
			t.Errorf("removed %v, error %v", made.Removed, made.Sweep)
		}
		want := slices.Concat(under(recent-1, "plan.json"), under(recent, "plan.json", "published.json"), under(recent+1, "plan.json"))
		if got := s.keys(t, "work"); !slices.Equal(got, want) {
			t.Errorf("%q remain, want %q", got, want)
		}
	})
}

// A sweep that is killed at any request is finished by the next one. Until then no
// task begins, because there is no plan, or it is published.
func TestKilledSweepIsFinished(t *testing.T) {
	recent := generation.IDOf(time.Now())
	for after, want := range map[time.Duration][]string{0: nil, time.Hour: under(recent, planName, publishedName)} {
		for n := 0; ; n++ {
			s := newS3Site(t)
			s.leave(t, under(recent, "plan.json", "published.json", "split-00000/a/x", "split-00000/done.json", "merge-00000/done.json")...)
			ctx, cancel := context.WithCancel(t.Context())
			var deletes atomic.Int64
			s.server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.Method == http.MethodDelete {
					if deletes.Add(1) > int64(n) {
						cancel()
						return
					}
				}
				next.ServeHTTP(w, r)
			})
			_, err := sweep(ctx, s.folder(t, "work"), after, 0)
			s.server.Fail(nil)
			if err == nil {
				cancel()
				break
			}
			keys := s.keys(t, "work")
			for _, name := range []string{planName, publishedName} {
				if n > 1 && after > 0 && !slices.Contains(keys, under(recent, name)[0]) {
					t.Errorf("after %d deletions: %s is missing", n, name)
				}
			}
			if n > 1 && after == 0 && slices.Contains(keys, under(recent, planName)[0]) { // the first one is of the clock
				t.Errorf("after %d deletions: the plan remains", n)
			}
			_, err = sweep(t.Context(), s.folder(t, "work"), after, 0)
			must(t, err)
			if keys := s.keys(t, "work"); !slices.Equal(keys, want) {
				t.Errorf("after %d deletions: %q remain, want %q", n, keys, want)
			}
		}
	}
}

// Sweeps at the same time all succeed, and leave nothing.
func TestSweepsAtTheSameTime(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		for i := range generation.ID(5) {
			s.leave(t, under(testID+i, "plan.json", "published.json", "split-00000/done.json", "split-00000/a/x", "merge-00000/done.json")...)
		}
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if _, err := Sweep(context.Background(), s.url+"/work", s.opts, 0); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if keys := s.keys(t, "work"); len(keys) > 0 {
			t.Errorf("%q remain", keys)
		}
	})
}

// Sweep refuses the URL of one plan, and accepts one without plans.
func TestSweepOfOtherURLs(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		s.leave(t, under(testID, "published.json")...)
		if _, err := Sweep(t.Context(), s.url+"/work/"+testID.String(), s.opts, 0); !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
		removed, err := Sweep(t.Context(), s.url+"/none", s.opts, 0)
		must(t, err)
		if len(removed) > 0 || len(s.keys(t, "work")) != 1 {
			t.Errorf("removed %v", removed)
		}
	})
}

// An attempt counts if its done file was written, also if the answer was lost, or was
// an error. Its runs remain.
func TestLostAnswerOfDoneFile(t *testing.T) {
	isDone := func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/"+doneName)
	}
	for name, answer := range map[string]objecttest.Fault{
		"lost":  func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"error": objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied"),
	} {
		s := newS3Site(t)
		p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 10}))))
		s.server.Fail(objecttest.First(1, isDone, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			next.ServeHTTP(discard{http.Header{}}, r)
			answer(w, r, next)
		}))
		r, err := p.Split(t.Context(), 0, taskOptions(t), nil)
		must(t, err)
		s.server.Fail(nil)
		done, err := p.readSplitDone(t.Context(), 0)
		must(t, err)
		if r.Earlier || done.Attempt != r.Attempt || len(s.keys(t, "work")) != 2+p.Shards {
			t.Errorf("%s: %+v, objects %q", name, r, s.keys(t, "work"))
		}
	}
}

// discard is a ResponseWriter that discards the answer.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

package tasks

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// Sweep removes the folders of published and abandoned plans, with all that is in
// them, and what stragglers left of old generations. It keeps everything else.
func TestSweep(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		now := time.Now()
		recent := generation.IDOf(now)
		const old = testID // planned now, though
		keep := slices.Concat(
			under(recent, "plan.json", "split-00000/done.json", "split-00000/0123456789abcdef/x.pgen"),
			under(old, "plan.json", "split-00001/done.json"),
			under(recent+1, "split-00000/0123456789abcdef/x.pgen"), // a straggler of a young one
			[]string{"other", "20261122/plan.json", "20261122T103000123/published.json", recent.String() + "x/published.json", "sub/" + recent.String() + "/published.json"},
		)
		remove := slices.Concat(
			under(recent+2, "plan.json", "published.json", "split-00000/done.json", "merge-00000/done.json"),
			under(recent+3, "published.json"),                                            // a killed sweep
			under(old+1, "split-00000/0123456789abcdef/x.pgen", "split-00000/done.json"), // a straggler
		)
		s.leave(t, slices.Concat(keep, remove)...)
		work := s.folder(t, "work")
		if dir := work.sub((old + 1).String()); work.isLocal() {
			must(t, os.Chtimes(dir.path, time.Time{}, now.Add(-2*time.Hour)))
		}
		removed, err := sweep(t.Context(), work, time.Hour, now)
		must(t, err)
		if want := []generation.ID{old + 1, recent + 2, recent + 3}; !slices.Equal(removed, want) {
			t.Errorf("removed %v, want %v", removed, want)
		}
		slices.Sort(keep)
		if got := s.keys(t, "work"); !slices.Equal(got, keep) {
			t.Errorf("%q remain, want %q", got, keep)
		}
		if work.isLocal() {
			if _, err := os.Stat(filepath.Join(work.path, (recent + 3).String())); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the folder remains: %v", err)
			}
		}

		removed, err = sweep(t.Context(), work, time.Hour, now.Add(2*time.Hour))
		must(t, err)
		if want := []generation.ID{old, recent, recent + 1}; !slices.Equal(removed, want) {
			t.Errorf("removed %v, want %v", removed, want)
		}
		for _, key := range s.keys(t, "work") {
			if id, err := generation.ParseID(key[:strings.IndexByte(key+"/", '/')]); err == nil {
				t.Errorf("%s of %s remains", key, id)
			}
		}
	})
}

// A sweep keeps the directory of an old generation in which a plan begins to write.
func TestSweepKeepsNewDirectories(t *testing.T) {
	work := newDirSite(t).folder(t, "work")
	dir := work.sub(testID.String())
	must(t, os.MkdirAll(dir.path, 0o755))
	removed, err := sweep(t.Context(), work, time.Hour, time.Now())
	must(t, err)
	if _, err := os.Stat(dir.path); err != nil || len(removed) > 0 {
		t.Errorf("removed %v: %v", removed, err)
	}
}

// A plan sweeps earlier ones, but not those that are active.
func TestMakeSweeps(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		recent := generation.IDOf(time.Now())
		s.leave(t, slices.Concat(under(recent, "plan.json", "published.json"), under(recent-1, "plan.json"))...)
		opts := s.makeOptions(s.put(t, "a.csv", []byte("x")))
		opts.Generation = recent + 1
		made, err := Make(t.Context(), opts)
		must(t, err)
		if !slices.Equal(made.Removed, []generation.ID{recent}) || made.Sweep != nil {
			t.Errorf("removed %v, error %v", made.Removed, made.Sweep)
		}
		want := slices.Concat(under(recent-1, "plan.json"), under(recent+1, "plan.json"))
		if got := s.keys(t, "work"); !slices.Equal(got, want) {
			t.Errorf("%q remain, want %q", got, want)
		}
	})
}

// A sweep that is killed at any request is finished by the next one. Until then no
// task begins.
func TestKilledSweepIsFinished(t *testing.T) {
	recent := generation.IDOf(time.Now())
	for n := 0; ; n++ {
		s := newS3Site(t)
		s.leave(t, under(recent, "plan.json", "published.json", "split-00000/a/x", "split-00000/done.json", "merge-00000/done.json")...)
		ctx, cancel := context.WithCancel(t.Context())
		deletes := 0
		s.server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodDelete {
				if deletes++; deletes > n {
					cancel()
					return
				}
			}
			next.ServeHTTP(w, r)
		})
		_, err := sweep(ctx, s.folder(t, "work"), time.Hour, time.Now())
		s.server.Fail(nil)
		if err == nil {
			cancel()
			break
		}
		if _, lerr := Load(t.Context(), s.url+"/work", s.opts); n > 0 && !errors.Is(lerr, ErrNoPlan) {
			t.Errorf("after %d deletions: %v", n, lerr)
		}
		_, err = sweep(t.Context(), s.folder(t, "work"), time.Hour, time.Now())
		must(t, err)
		if keys := s.keys(t, "work"); len(keys) > 0 {
			t.Errorf("after %d deletions: %q remain", n, keys)
		}
	}
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

package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/synth"
)

// The runs of all splits together have the rows of the inputs, and done.json
// describes them.
func TestSplitWritesRuns(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		data := csvOf(t, synth.DataSet{Rows: 3000, Duplicates: 300})
		part := data[:bytes.LastIndexByte(data[:len(data)/3], '\n')+1]
		opts := s.makeOptions(s.put(t, "a.csv", data), s.put(t, "b.csv", part), s.put(t, "empty.csv", nil))
		opts.SplitSize = int64(len(data)/4 + 1)
		p := makePlan(t, opts)
		var rows, records int64
		task := taskOptions(t)
		for i := range p.Splits {
			r, err := p.Split(t.Context(), i, task, nil)
			must(t, err)
			if r.Earlier || r.SplitDone == nil {
				t.Errorf("split %d: %+v", i, r)
			}
			done, err := p.readSplitDone(t.Context(), i)
			must(t, err)
			rows += done.Rows
			runs := p.dir.sub(splitName(i)).sub(done.Attempt)
			for _, f := range done.Files {
				o, err := runs.store.Open(t.Context(), runs.prefix+f.Name)
				must(t, err)
				if o.ETag() != f.ETag || o.Size() != f.Size {
					t.Errorf("%s: size %d, ETag %s, done.json has %+v", f.Name, o.Size(), o.ETag(), f)
				}
				x, err := format.Open(o, o.Size())
				must(t, err)
				records += int64(x.Records)
				must(t, o.Close())
			}
		}
		if want := int64(bytes.Count(data, []byte{'\n'}) + bytes.Count(part, []byte{'\n'})); rows != want || records == 0 || records > rows {
			t.Errorf("%d rows, %d records", rows, records)
		}
		if left := filesIn(t, task.TempDir); len(left) > 0 {
			t.Errorf("temporary files %q remain", left)
		}
	})
}

// A split that is done is not done again, and one that does not exist is no error.
func TestSplitIsIdempotent(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100}))))
		first, err := p.Split(t.Context(), 0, taskOptions(t), nil)
		must(t, err)
		before := s.keys(t, "work")
		again, err := p.Split(t.Context(), 0, taskOptions(t), nil)
		must(t, err)
		if !again.Earlier || again.Attempt != first.Attempt || strings.Join(s.keys(t, "work"), " ") != strings.Join(before, " ") {
			t.Errorf("%+v, then %+v", first, again)
		}
		none, err := p.Split(t.Context(), 1, taskOptions(t), nil)
		must(t, err)
		if none.SplitDone != nil {
			t.Errorf("%+v", none)
		}
		if _, err := p.Split(t.Context(), -1, taskOptions(t), nil); !IsPermanent(err) {
			t.Errorf("error %v", err)
		}
	})
}

// Attempts at the same time all succeed. One counts, and the others leave nothing.
func TestSplitsAtTheSameTime(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 2000}))))
		const attempts = 4
		results := make(chan SplitResult, attempts)
		temp := taskOptions(t)
		for range attempts {
			go func() {
				r, err := p.Split(t.Context(), 0, temp, nil)
				if err != nil {
					t.Error(err)
				}
				results <- r
			}()
		}
		first := 0
		for range attempts {
			r := <-results
			if r.SplitDone == nil {
				continue
			}
			if !r.Earlier {
				first++
			}
			done, err := p.readSplitDone(t.Context(), 0)
			must(t, err)
			if done.Attempt != r.Attempt {
				t.Errorf("attempt %s counts, want %s", r.Attempt, done.Attempt)
			}
		}
		if first != 1 {
			t.Errorf("%d attempts were first", first)
		}
		runs := 0
		for _, key := range s.keys(t, "work") {
			if strings.HasSuffix(key, ".pgen") {
				runs++
			}
		}
		if runs != p.Shards {
			t.Errorf("%d runs, want %d", runs, p.Shards)
		}
	})
}

// An input that has changed since the plan fails the split for good.
func TestSplitOfChangedInput(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		data := csvOf(t, synth.DataSet{Rows: 100})
		opts := s.makeOptions(s.put(t, "a.csv", data))
		opts.SplitSize = int64(len(data)/2 + 1)
		p := makePlan(t, opts)
		s.put(t, "a.csv", append([]byte(nil), append(data[1:], '\n')...))
		for i := range p.Splits {
			_, err := p.Split(t.Context(), i, taskOptions(t), nil)
			if !errors.As(err, new(*builder.ChangedError)) || !IsPermanent(err) || !strings.Contains(err.Error(), p.Inputs[0].URL) {
				t.Errorf("split %d: %v", i, err)
			}
		}
		if keys := s.keys(t, "work"); len(keys) != 1 {
			t.Errorf("%q remain", keys)
		}
	})
}

// A bad row is reported with its line in the whole input.
func TestSplitReportsTrueLine(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		lines := strings.SplitAfter(string(csvOf(t, synth.DataSet{Rows: 300})), "\n")
		for _, at := range []int{1, 50, 100, 150, 151, 152, 153, 200, 300} { // lines from 1
			bad := append([]string(nil), lines...)
			bad[at-1] = "x" + bad[at-1]
			data := []byte(strings.Join(bad, ""))
			s.put(t, "a.csv", data)
			opts := s.makeOptions(s.put(t, "a.csv", data))
			opts.SplitSize = int64(len(data)/3 + 1)
			opts.Generation = testID + generation.ID(at)
			p := makePlan(t, opts)
			failed := 0
			for i := range p.Splits {
				_, err := p.Split(t.Context(), i, taskOptions(t), nil)
				if err == nil {
					continue
				}
				failed++
				if !IsPermanent(err) || !strings.Contains(err.Error(), fmt.Sprintf("%s:%d:1: ", p.Inputs[0].URL, at)) {
					t.Errorf("split %d, line %d: %v", i, at, err)
				}
			}
			if failed != 1 {
				t.Errorf("line %d: %d of %d splits failed", at, failed, len(p.Splits))
			}
		}
	})
}

// A split within the limit of bad rows lists them in done.json, in the lines of its
// range.
func TestSplitListsBadRows(t *testing.T) {
	s := newDirSite(t)
	data := string(csvOf(t, synth.DataSet{Rows: 10}))
	opts := s.makeOptions(s.put(t, "a.csv", []byte(data)), s.put(t, "b.csv", []byte(data+"bad,\xff\n")))
	opts.Policies.MaxBadRows = 1
	p := makePlan(t, opts)
	r, err := p.Split(t.Context(), 0, taskOptions(t), nil)
	must(t, err)
	if len(r.Bad) != 1 || r.Bad[0].Range != 1 || r.Bad[0].Line != 11 || string(r.Bad[0].Text) != "bad,\xff" || r.Lines[0] != 10 || r.Lines[1] != 11 {
		t.Errorf("%+v, lines %v", r.Bad, r.Lines)
	}
	done, err := p.readSplitDone(t.Context(), 0)
	must(t, err)
	if string(done.Bad[0].Text) != "bad,\xff" {
		t.Errorf("%+v", done.Bad)
	}
}

// An attempt that is interrupted or fails leaves no files.
func TestInterruptedSplitLeavesNothing(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 1000}))))
		stop := errors.New("stop")
		for _, phase := range []builder.Phase{builder.PhaseRead, builder.PhaseSort, builder.PhasePublish} {
			ctx, cancel := context.WithCancelCause(t.Context())
			task := taskOptions(t)
			_, err := p.Split(ctx, 0, task, func(status builder.Status) {
				if status.Phase == phase {
					cancel(stop)
				}
			})
			if err == nil || IsPermanent(err) {
				t.Errorf("%s: error %v", phase, err)
			}
			if keys := s.keys(t, "work"); len(keys) != 1 {
				t.Errorf("%s: %q remain", phase, keys)
			}
			if left := filesIn(t, task.TempDir); len(left) > 0 {
				t.Errorf("%s: temporary files %q remain", phase, left)
			}
		}
	})
}

// The done file of another plan of the same generation does not count, and is no
// reason to try again.
func TestSplitRefusesDoneOfOtherPlan(t *testing.T) {
	s := newDirSite(t)
	p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100}))))
	_, err := p.Split(t.Context(), 0, taskOptions(t), nil)
	must(t, err)
	p.digest = strings.Repeat("0", 64)
	if _, err := p.Split(t.Context(), 0, taskOptions(t), nil); !IsPermanent(err) || !strings.Contains(err.Error(), "another plan") {
		t.Errorf("error %v", err)
	}
}

// A task removes the temporary files of killed tasks, but not those of running ones.
func TestWorkspacesOfKilledTasksAreRemoved(t *testing.T) {
	parent := t.TempDir()
	running, err := openWorkspace(parent)
	must(t, err)
	killed, err := openWorkspace(parent)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(killed.dir, "spill"), nil, 0o600))
	must(t, killed.lock.Close()) // as the kernel does
	next, err := openWorkspace(parent)
	must(t, err)
	if _, err := os.Stat(killed.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", killed.dir, err)
	}
	for _, w := range []*workspace{running, next} {
		if _, err := os.Stat(w.dir); err != nil {
			t.Error(err)
		}
		must(t, w.Close())
	}
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("%v remain", left)
	}
}

// An input that does not exist any more has changed in object storage. A missing
// file may be on a disk that is not mounted here.
func TestSplitOfMissingInput(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		in := s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 100}))
		p := makePlan(t, s.makeOptions(in))
		must(t, in.Store.Delete(t.Context(), in.Object.Key))
		_, err := p.Split(t.Context(), 0, taskOptions(t), nil)
		if !errors.Is(err, objects.ErrNotFound) || IsPermanent(err) != (s.server != nil) {
			t.Errorf("error %v", err)
		}
	})
}

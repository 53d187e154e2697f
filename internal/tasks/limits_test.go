package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// rows returns rows of the ids from lo to hi with this price.
func rows(lo, hi int, price string) string {
	var b strings.Builder
	for n := lo; n < hi; n++ {
		fmt.Fprintf(&b, "%08x-0000-4000-8000-%012x,%s,%s\n", uint32(n)*0x9e3779b9, n, price, dates[n%2])
	}
	return b.String()
}

// push copies a generation of one build to the Out of the site.
func (s site) push(t testing.TB, sum builder.Summary) {
	t.Helper()
	id, err := generation.ParseID(sum.Generation)
	must(t, err)
	set, err := generation.Generation{ID: id, Shards: sum.Shards, Files: sum.Files}.OpenIndex()
	must(t, err)
	defer set.Close()
	_, err = s.out(t).Push(context.Background(), set, transfer.Progress{})
	must(t, err)
}

// runAll plans and runs all tasks, and returns the first error.
func runAll(t testing.TB, opts MakeOptions) (PublishResult, error) {
	t.Helper()
	made, err := Make(context.Background(), opts)
	if err != nil {
		return PublishResult{}, err
	}
	p, o := made.Plan, taskOptions(t)
	for i := range p.Splits {
		if _, err := p.Split(context.Background(), i, o, nil); err != nil {
			return PublishResult{}, err
		}
	}
	for i := range p.Shards {
		if _, err := p.Merge(context.Background(), i, o, nil); err != nil {
			return PublishResult{}, err
		}
	}
	result, err := p.Publish(context.Background(), 0)
	if left := filesIn(t, o.TempDir); len(left) > 0 {
		t.Errorf("the tasks left %v", left)
	}
	return result, err
}

// Limits refuse the same data sets as in one build, with the same errors, and no
// other attempt can help.
func TestTasksApplyTheLimitsOfABuild(t *testing.T) {
	const n = 1000 // records of the live generation
	for i, c := range []struct {
		name   string
		csv    string
		limits Policies
		want   any // pointer to the type of the error, or the error; nil: published
	}{
		{"bad rows up to the limit", strings.Repeat(rows(0, 100, "1")+"bad\n", 4), Policies{MaxBadRows: 4}, nil},
		{"bad rows of all splits", rows(0, 200, "1") + strings.Repeat(rows(0, 100, "1")+"bad,\"row\n\n", 30), Policies{MaxBadRows: 29}, new(*builder.BadRowsError)},
		{"bad rows of one split", rows(0, 500, "1") + strings.Repeat("bad\n", 25), Policies{MaxBadRows: 1}, new(*builder.BadRowsError)},
		{"no rows", "id,price,expiration_date\n", Policies{}, builder.ErrEmpty},
		{"no good rows", "id,price,expiration_date\nbad\n", Policies{MaxBadRows: 1}, builder.ErrEmpty},
		{"no rows allowed", "id,price,expiration_date\n", Policies{AllowEmpty: true}, nil},
		{"too few records", rows(0, 1500, "1") + rows(0, 600, "2"), Policies{MinRecords: 1501}, new(*builder.GuardError)},
		{"enough records", rows(0, 1500, "1") + rows(0, 600, "2"), Policies{MinRecords: 1500}, nil},
		{"shrunk", rows(0, 899, "1") + rows(0, 200, "1"), Policies{MaxShrink: 10}, new(*builder.GuardError)},
		{"shrunk by the limit", rows(0, 900, "1"), Policies{MaxShrink: 10}, nil},
		{"added", rows(0, 1101, "1"), Policies{MaxAdded: 10}, new(*builder.ContentError)},
		{"removed", rows(101, n, "1"), Policies{MaxRemoved: 10}, new(*builder.ContentError)},
		{"changed", rows(0, 101, "2") + rows(101, n, "1"), Policies{MaxChanged: 10, MaxAdded: 5}, new(*builder.ContentError)},
		{"changed by the limits", rows(0, 100, "2") + rows(100, 950, "1") + rows(n, 1020, "1"), Policies{MaxChanged: 10, MaxAdded: 2, MaxRemoved: 5}, nil},
		{"a row repeats an ID of another split", rows(0, 2000, "1") + rows(7, 8, "1"), Policies{Duplicates: "error"}, new(*builder.DuplicatesError)},
		{"a row repeats an ID of its split", rows(0, 2000, "1") + rows(1999, 2000, "1"), Policies{Duplicates: "error"}, new(*builder.DuplicatesError)},
		{"no line end", strings.TrimSuffix(rows(0, 100, "1"), "\n"), Policies{}, nil},
		{"no line end where one is required", strings.TrimSuffix(rows(0, 100, "1"), "\n"), Policies{RequireFinalNewline: true}, builder.ErrUnterminated},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := []func(testing.TB) site{newDirSite, newS3Site}[i%2](t)
			opts := s.makeOptions(s.put(t, "live.csv", []byte(rows(0, n, "1"))))
			dir := t.TempDir()
			live, err := build(t, dir, opts)
			must(t, err)
			s.push(t, live)
			opts.Generation++
			opts.SplitSize = 24 << 10
			opts.Inputs = []Source{s.put(t, "in.csv", []byte(c.csv))}
			opts.Policies = c.limits
			opts.Policies.Delimiter = ","
			if opts.Policies.Duplicates == "" {
				opts.Policies.Duplicates = "last"
			}
			got, err := runAll(t, opts)
			want, wantErr := build(t, dir, opts)
			if c.want == nil {
				must(t, errors.Join(err, wantErr))
				wantFiles(t, s.pulled(t), contents(t, dir, opts.Generation))
				wantSummary(t, got.Summary, want)
				return
			}
			if !isA(err, c.want) || !isA(wantErr, c.want) || !IsPermanent(err) {
				t.Fatalf("%v, permanent: %v; the error of a build is %v", err, IsPermanent(err), wantErr)
			}
			if text := strings.ReplaceAll(wantErr.Error(), "at most ", ""); err.Error() != text && !strings.Contains(text, "at least") && !errors.As(err, new(*builder.DuplicatesError)) {
				t.Errorf("error\n%v, want\n%s", err, text)
			}
			if visible := s.visible(t); len(visible) != 1 {
				t.Errorf("visible: %v", visible)
			}
		})
	}
}

// isA reports whether err is target, or has the type to which target points.
func isA(err error, target any) bool {
	if want, ok := target.(error); ok {
		return errors.Is(err, want)
	}
	return errors.As(err, reflect.New(reflect.TypeOf(target).Elem()).Interface())
}

// A live generation of another sharding cannot be compared with; one that is gone or
// damaged refuses the data set.
func TestContentLimitsNeedTheLiveGeneration(t *testing.T) {
	eachSite(t, func(t *testing.T, s site) {
		in := s.put(t, "in.csv", []byte(rows(0, 1000, "1")))
		opts := s.makeOptions(in)
		live, err := build(t, t.TempDir(), opts)
		must(t, err)
		s.push(t, live)
		opts.Generation++
		opts.Policies.MaxRemoved = 50
		p := makePlan(t, opts)
		o := taskOptions(t)
		_, err = p.Split(t.Context(), 0, o, nil)
		must(t, err)

		out := s.folder(t, "out")
		name := generation.Name{ID: testID, Shard: 3, Shards: 16}.String()
		must(t, out.store.Delete(t.Context(), out.prefix+name))
		for i := range 2 {
			var content *builder.ContentError
			_, err := p.Merge(t.Context(), 3, o, nil)
			if !errors.As(err, &content) || content.Cause == nil || !IsPermanent(err) || strings.Contains(err.Error(), "plan again") != (i == 0) {
				t.Errorf("error %v", err)
			}
			_, err = out.store.Put(t.Context(), out.prefix+name, bytes.NewReader(make([]byte, 12<<10)), 12<<10, objects.Always)
			must(t, err)
		}
		_, err = p.Merge(t.Context(), 4, o, nil)
		must(t, err)

		p.Live.Shards, p.Live.ShardBy = 32, format.ShardFirst.String()
		if _, err := p.Merge(t.Context(), 5, o, nil); !isA(err, new(*builder.ContentError)) || !IsPermanent(err) {
			t.Errorf("another sharding: %v", err)
		}
	})
}

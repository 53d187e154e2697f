package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/report"
)

func TestFit(t *testing.T) {
	one := []chapter{{name: "one", seconds: 10, secondsMega: 1}}
	for _, test := range []struct {
		seconds float64 // beyond the start
		want    int64   // 0: refused
	}{{0, 0}, {10, 0}, {11, 1_000_000}, {11.9, 1_000_000}, {12.5, 2_000_000}, {15, 5_000_000}, {1010, 1_000_000_000}} {
		got, err := fit(one, startSeconds+test.seconds)
		if got != test.want && test.want > 0 || (err != nil) != (test.want == 0) {
			t.Errorf("%v s: %d rows, %v, want %d", test.seconds, got, err, test.want)
		}
	}
	_, err := fit(chapters, 1)
	if err == nil || !strings.Contains(err.Error(), "seconds are needed at least (15 to start, build ") {
		t.Error(err)
	}
	if rows, err := fit(chapters, 900); rows < 1_000_000 || err != nil {
		t.Errorf("%d rows in the time that is taken if none is given: %v", rows, err)
	}
}

func TestChoose(t *testing.T) {
	got, err := choose("http,build")
	if err != nil || len(got) != 2 || got[0].name != "build" || got[1].name != "http" {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "nothing", "build,build", "build,"} {
		if got, err := choose(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if got, err := choose(names(chapters)); err != nil || len(got) != len(chapters) {
		t.Error(got, err)
	}
}

func TestCheckDir(t *testing.T) {
	if err := checkDir(t.TempDir(), 1); err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		dir   string
		bytes int64
		want  string
	}{
		{"/dev/shm", 1, "is on tmpfs, in memory; name a directory"},
		{t.TempDir(), 1 << 60, "about 1.0 EiB are needed"},
		{t.TempDir() + "/nothing", 1, "no such file"},
	} {
		if err := checkDir(test.dir, test.bytes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.dir, err, test.want)
		}
	}
}

func newRun(t *testing.T) *run {
	t.Helper()
	env := &contest.Env{Dir: t.TempDir(), Rows: 1000, Log: t.Output()}
	return &run{env: env, out: filepath.Join(t.TempDir(), "results"), table: t.Output()}
}

// reports is a chapter that reports one result and then does as it is told.
func reports(name string, then func() error) chapter {
	return chapter{name: name, run: func(_ context.Context, _ *contest.Env, report func(contest.Result)) error {
		report(contest.Figure(name, "figure", "a figure", "s", 1, nil, ""))
		return then()
	}}
}

// TestChapterThatFails: what it measured is written, the next one follows, and
// the error comes back at the end.
func TestChapterThatFails(t *testing.T) {
	r := newRun(t)
	failure := errors.New("no room\nin " + r.env.Dir + "/file")
	nothing := chapter{name: "scale", run: func(context.Context, *contest.Env, func(contest.Result)) error { return failure }}
	err := r.measure(t.Context(), []chapter{
		nothing, reports("build", func() error { return failure }), reports("lookup", func() error { return nil }),
	})
	if !errors.Is(err, failure) || strings.Count(err.Error(), "no room") != 2 {
		t.Errorf("error %v, want %v of two chapters", err, failure)
	}
	got, err := report.Read(r.out)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Ended != "no room in …/file" || got[1].Ended != "" || len(got[0].Results) != 1 || len(got[1].Results) != 1 {
		t.Errorf("%+v", got)
	}
	page, err := os.ReadFile(filepath.Join(r.out, "README.md"))
	if err != nil || !strings.Contains(string(page), "ended early: no room in …/file") || strings.Contains(string(page), r.env.Dir) {
		t.Errorf("%v: %s", err, page)
	}
}

func TestInterrupt(t *testing.T) {
	r := newRun(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := r.measure(ctx, []chapter{
		reports("build", func() error { cancel(); return errors.New("signal: interrupt") }),
		reports("lookup", func() error { return nil }),
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	got, err := report.Read(r.out)
	if err != nil || len(got) != 1 || got[0].Name != "build" || got[0].Ended != "it was interrupted" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCommand(t *testing.T) {
	r := newRun(t)
	small, big := &chapter{name: "build"}, &chapter{name: "limits", large: true}
	got := []string{r.command(small)}
	r.large, r.dirSet = "/data/large", true
	got = append(got, r.command(small), r.command(big))
	want := []string{
		"make scorecard AREAS=build ROWS=1000",
		"make scorecard AREAS=build ROWS=1000 DIR=…",
		"PROMO_BENCH_LARGE=… make scorecard AREAS=limits ROWS=1000 DIR=…",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

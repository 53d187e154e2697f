package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/gentest"
)

func TestDurationTextHasOneUnit(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := durationText(d); got != want {
			t.Errorf("durationText(%v) = %q, want %q", d, got, want)
		}
	}
	f(time.Millisecond, "0 s")
	f(59*time.Second, "59 s")
	f(20*time.Minute-time.Second, "20 min")
	f(2*time.Hour-time.Second, "2 h")
	f(47*time.Hour, "47 h")
	f(48*time.Hour, "2 d")
	f(10_000*24*time.Hour, "10,000 d")
}

// A generation ahead of the clock is named by list and inspect, with how far ahead
// it is. One that is more than an hour ahead is from the future.
func TestListAndInspectNameGenerationsAheadOfClock(t *testing.T) {
	promobuild := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"promobuild"}, args...), strings.NewReader(""), &stdout, &stderr); code != 0 {
			t.Fatalf("%q: exit code %d, %s", args, code, stderr.String())
		}
		return stdout.String()
	}
	for _, c := range []struct {
		ahead  time.Duration
		want   string
		future bool
	}{
		{-time.Hour, "", false},
		{20 * time.Minute, ", ahead 20 min", false},
		{2 * time.Hour, ", from the future, ahead 2 h", true},
		{72 * time.Hour, ", from the future, ahead 3 d", true},
	} {
		dir := t.TempDir()
		id := generation.IDOf(time.Now().Add(c.ahead + time.Second))
		path := gentest.Publish(t, dir, id, gentest.Sequence(1))
		if text := promobuild("list", dir); !strings.HasSuffix(text, "live, newest"+c.want+"\n") {
			t.Errorf("list: %s, want %q", text, c.want)
		}
		if text := promobuild("inspect", path); !strings.Contains(text, " UTC"+c.want+"\n") {
			t.Errorf("inspect: %s, want %q", text, c.want)
		}
		var list []struct {
			Future bool
			Ahead  float64
		}
		if err := json.Unmarshal([]byte(promobuild("list", "--json", dir)), &list); err != nil {
			t.Fatal(err)
		}
		if ahead := time.Duration(list[0].Ahead * float64(time.Second)); list[0].Future != c.future || ahead < max(0, c.ahead-time.Minute) || ahead > max(0, c.ahead+time.Minute) {
			t.Errorf("list --json: %+v, want ahead %v", list, c.ahead)
		}
	}
}

package main

import "testing"

func TestFit(t *testing.T) {
	one := []chapter{{fixed: 10, perMega: 1}}
	for _, test := range []struct {
		seconds float64
		want    int64
	}{{0, 10_000}, {10.04, 20_000}, {10.06, 50_000}, {11, 1_000_000}, {12.5, 2_000_000}, {15, 5_000_000}, {1010, 1_000_000_000}} {
		if got := fit(one, test.seconds); got != test.want {
			t.Errorf("%v s: %d rows, want %d", test.seconds, got, test.want)
		}
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
	if got, err := choose(names()); err != nil || len(got) != len(chapters) {
		t.Error(got, err)
	}
}

package main

import "testing"

func TestCountFormsPlural(t *testing.T) {
	f := func(n int64, want string) {
		t.Helper()
		if got := count(n, "row"); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	f(0, "0 rows")
	f(1, "1 row")
	f(2, "2 rows")
	f(1234567, "1,234,567 rows")
}

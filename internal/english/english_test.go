package english_test

import (
	"testing"

	"promostore/internal/english"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 bad rows", 1: "1 bad row", 2: "2 bad rows", 1234567: "1,234,567 bad rows"} {
		if got := english.Count(n, "bad row"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

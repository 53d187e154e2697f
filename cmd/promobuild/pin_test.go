package main

import (
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
)

func TestPinTextIsPrintable(t *testing.T) {
	at := time.Date(2026, 11, 24, 13, 0, 0, 5e6, time.FixedZone("", 3600))
	for _, c := range []struct {
		pin  generation.Pin
		want string
	}{
		{generation.Pin{}, "pinned"},
		{generation.Pin{By: "ops@node"}, "pinned by ops@node"},
		{generation.Pin{By: "ops@node", At: at, Reason: "wrong prices"}, "pinned by ops@node at 2026-11-24 12:00:00 UTC: wrong prices"},
		{generation.Pin{By: "a\rb", Reason: "é\x1b[2J\n…"}, `pinned by a\rb: é\x1b[2J\n…`},
	} {
		if got := pinText(c.pin); got != c.want {
			t.Errorf("pinText(%+v) = %q, want %q", c.pin, got, c.want)
		}
	}
}

func TestWhoamiNamesUserAndHost(t *testing.T) {
	name, host, ok := strings.Cut(whoami(), "@")
	if !ok || name == "" || host == "" {
		t.Errorf("whoami() = %q", whoami())
	}
}

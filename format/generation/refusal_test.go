package generation_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
)

// identity returns the identity of a new file.
func identity(t *testing.T) fsx.Identity {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	gentest.Must(t, os.WriteFile(path, nil, 0o600))
	info, err := os.Stat(path)
	gentest.Must(t, err)
	return fsx.IdentityOf(info)
}

// TestRefusalIsProvisional checks a file whenever its refusal does not hold, once
// a second for a day.
func TestRefusalIsProvisional(t *testing.T) {
	file := identity(t)
	for _, c := range []struct {
		transient bool
		checks    int
		last      time.Duration // time of the last check
	}{
		{false, 14, 4096 * time.Second},
		{true, 1446, 24*time.Hour - 56*time.Second},
	} {
		start := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
		var r generation.Refusal
		checks, last := 0, time.Duration(0)
		for since := time.Duration(0); since <= 24*time.Hour; since += time.Second {
			if now := start.Add(since); !r.Holds(file, now) {
				r = r.Again(file, c.transient, now)
				checks, last = checks+1, since
			}
		}
		if checks != c.checks || last != c.last {
			t.Errorf("transient %t: %d checks, the last after %v, want %d and %v", c.transient, checks, last, c.checks, c.last)
		}
	}
}

func TestRefusalEndsWithChange(t *testing.T) {
	now := time.Now()
	file, other := identity(t), identity(t)
	r := generation.Refusal{}.Again(file, false, now).Again(file, false, now.Add(2*time.Hour))
	if now = now.Add(48 * time.Hour); !r.Holds(file, now) || r.Holds(other, now) {
		t.Errorf("refused after days: %t, another file: %t", r.Holds(file, now), r.Holds(other, now))
	}
	if r = r.Again(other, false, now); !r.Holds(other, now) || r.Holds(other, now.Add(time.Second)) || r.Holds(file, now) {
		t.Error("the refusal of another file is not provisional")
	}
	if (generation.Refusal{}).Holds(fsx.Identity{}, now) {
		t.Error("the zero value refuses a file")
	}
}

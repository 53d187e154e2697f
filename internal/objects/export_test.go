package objects

import (
	"testing"
	"time"
)

func init() {
	firstWait, maxWait = time.Millisecond, 5*time.Millisecond
	uploadPartLen = 5 << 20 // the least that servers accept
}

// SetStallLimit sets the limit of a transfer without progress for a test.
func SetStallLimit(t testing.TB, d time.Duration) {
	old := stallLimit
	t.Cleanup(func() { stallLimit = old })
	stallLimit = d
}

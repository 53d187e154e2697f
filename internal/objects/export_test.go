package objects

import (
	"testing"
	"time"
)

func init() {
	firstWait, maxWait = time.Millisecond, 5*time.Millisecond
	uploadPartLen = 5 << 20 // the least that servers accept
}

// ErrConflict is the error of an upload in parts that meets conflicts only.
var ErrConflict = errConflict

// SetPageLen sets the number of keys of each page of a listing for a test.
func SetPageLen(t testing.TB, n int) {
	t.Cleanup(func() { pageLen = 0 })
	pageLen = n
}

// SetMaxListed sets the limit of the objects of a listing for a test.
func SetMaxListed(t testing.TB, n int) {
	old := maxListed
	t.Cleanup(func() { maxListed = old })
	maxListed = n
}

// SetStallLimit sets the limit of a transfer without progress for a test.
func SetStallLimit(t testing.TB, d time.Duration) {
	old := stallLimit
	t.Cleanup(func() { stallLimit = old })
	stallLimit = d
}

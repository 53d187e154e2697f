package lookups

import (
	"testing"
	"time"
)

// ShortTurns makes turns too short to measure anything, until t ends.
func ShortTurns(t *testing.T) {
	before := turnTime
	turnTime = time.Millisecond
	t.Cleanup(func() { turnTime = before })
}

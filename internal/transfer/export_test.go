package transfer

import (
	"testing"
	"time"
)

// SetPinInterval sets the time between two looks at the pin for a test.
func SetPinInterval(t testing.TB, d time.Duration) {
	old := pinInterval
	t.Cleanup(func() { pinInterval = old })
	pinInterval = d
}

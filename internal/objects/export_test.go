package objects

import "time"

// Impatient makes waits and limits short in tests.
func init() {
	firstWait, maxWait = time.Millisecond, 5*time.Millisecond
	stallLimit = 500 * time.Millisecond
	uploadPartLen = 5 << 20
}

package generation

import (
	"time"

	"promostore/format"
)

// SetClock replaces the clock of c.
func (c *Checker) SetClock(now func() time.Time) { c.now = now }

// Remembered returns the header that c remembers for the file at path, and
// whether c has verified the blocks.
func (c *Checker) Remembered(path string) (h format.Header, verified, found bool) {
	r, found := c.known[path]
	return r.header, r.verified, found
}

// RememberedStyles returns the dictionary that c remembers for the file at path.
func (c *Checker) RememberedStyles(path string) []format.TimestampStyle { return c.known[path].styles }

// SetRemembered replaces the header that c remembers for the file at path.
func (c *Checker) SetRemembered(path string, h format.Header) {
	r := c.known[path]
	r.header = h
	c.known[path] = r
}

// Withdraw is what Publish does after an error, when it has renamed some files.
func (p *Pending) Withdraw(published []string) { p.withdraw(published) }

// SetMergeLen changes the memory of a merge, and returns a function that resets it.
func SetMergeLen(n int64) (reset func()) {
	old := mergeLen
	mergeLen = n
	return func() { mergeLen = old }
}

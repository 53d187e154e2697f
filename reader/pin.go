package reader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"promostore/format/generation"
)

// errPinChanged reports that the pin changed while a generation was opened for
// it.
var errPinChanged = errors.New("the pin has changed")

// pinInterval is the time between checks of the pin while a large generation is
// verified, which takes minutes. A rollback need not wait for that.
const pinInterval = time.Second

// A desired value is the generation that the pin of a directory asks for. It is
// immutable, so it needs no mutex.
type desired struct {
	pin generation.Pin
	err error // the pin cannot be read
}

// readDesired reads the pin of dir. That takes 20 µs, so checking first whether
// the file has changed would gain nothing.
func readDesired(dir string) desired {
	pin, err := generation.ReadPin(dir)
	return desired{pin, err}
}

func (d desired) equal(o desired) bool {
	return d.pin.Equal(o.pin) && fmt.Sprint(d.err) == fmt.Sprint(o.err)
}

// met reports whether d is satisfied while live, which may be nil, is live.
func (d desired) met(live *Generation) bool {
	return !d.pin.Active || live != nil && !d.pin.Holds(live.ID(), time.Now())
}

// candidates returns the generations of list that are preferable to live, which
// may be nil, best first.
func (d desired) candidates(list []generation.Generation, live *Generation) []generation.Generation {
	switch {
	case live == nil: // any is better than none
		return d.pin.Candidates(list)
	case d.err != nil:
		return nil
	}
	return d.pin.Preferred(list, live.ID())
}

// cancelOnPinChange returns a progress function for Verify, which cancels with
// errPinChanged if dir no longer asks for d.
func cancelOnPinChange(dir string, d desired, cancel context.CancelCauseFunc) func(done, size int64) {
	last := time.Now()
	return func(_, _ int64) {
		if time.Since(last) < pinInterval {
			return
		}
		last = time.Now()
		if !readDesired(dir).equal(d) {
			cancel(errPinChanged)
		}
	}
}

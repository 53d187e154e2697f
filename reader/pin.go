package reader

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
func (d desired) met(live *File) bool {
	return !d.pin.Active || live != nil && live.ID() == d.pin.ID
}

// candidates returns the generations of list that are preferable to live, which
// may be nil, best first.
func (d desired) candidates(list []generation.Generation, live *File) []generation.Generation {
	order := d.pin.Candidates(list)
	end, now := len(order), time.Now()
	switch {
	case live == nil: // any is better than none
	case d.err != nil, d.pin.Active && live.ID() == d.pin.ID:
		end = 0
	case d.pin.Active:
		end = slices.IndexFunc(order, func(g generation.Generation) bool { return g.ID != d.pin.ID })
	default:
		end = slices.IndexFunc(order, func(g generation.Generation) bool { return !live.ID().Before(g.ID, now) })
	}
	if end < 0 {
		end = len(order)
	}
	return order[:end]
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

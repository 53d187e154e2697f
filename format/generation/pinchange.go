package generation

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A PinChange holds the author of a change of the pin, and the reason. Its methods
// change the pin and return the new one.
type PinChange struct {
	By, Reason string
	UntilNewer bool // the next servable generation releases the pin
}

// Pin pins the generation of dir with this ID if it has the files that a server of
// these digits needs and passes check, which reports why it is not servable. The
// error may wrap ErrAbsent or ErrIncomplete.
func (c PinChange) Pin(dir string, id ID, digits Digits, check func(Generation) error) (Pin, error) {
	g, err := Find(dir, id, digits)
	if err == nil {
		err = check(g)
	}
	if err != nil {
		return Pin{}, err
	}
	return c.set(dir, Pin{Active: true, ID: id})
}

// Rollback pins the generation that Previous returns.
func (c PinChange) Rollback(ctx context.Context, dir string, check func(Generation) error) (Pin, error) {
	before, _, err := Previous(ctx, dir, check)
	if err != nil {
		return Pin{}, err
	}
	return c.set(dir, Pin{Active: true, ID: before.ID})
}

// Unpin makes servers of dir serve the newest servable generation.
func (c PinChange) Unpin(dir string) (Pin, error) { return c.set(dir, Pin{}) }

// set completes p and makes it the pin of dir.
func (c PinChange) set(dir string, p Pin) (Pin, error) {
	p.By, p.Reason, p.At = c.By, c.Reason, time.Now().UTC().Truncate(time.Millisecond)
	if p.Active && c.UntilNewer {
		list, err := List(dir)
		if err != nil {
			return Pin{}, err
		}
		if len(list) > 0 { // SetPin fails if it is empty
			p.UntilNewer, p.Newest = true, list[len(list)-1].ID
		}
	}
	return p, SetPin(dir, p)
}

// Previous returns the generation that a server of dir serves, as Live does, and
// the servable one before it, which is not one that a released pin held back if
// there are others. One from the future is only before others from the future. The
// error wraps ErrNoneServable if there is none. A pin that cannot be read does not
// prevent a rollback.
func Previous(ctx context.Context, dir string, check func(Generation) error) (before, served Generation, err error) {
	if served, err = Live(ctx, dir, check); err != nil {
		return before, served, err
	}
	list, err := List(dir)
	if err != nil {
		return before, served, err
	}
	pin, _ := ReadPin(dir)
	now := time.Now()
	list = slices.DeleteFunc(list, func(g Generation) bool { return !g.ID.Before(served.ID, now) })
	future := Future(list)
	if !served.ID.IsFuture(now) {
		list = list[len(future):]
	}
	if len(list) == 0 {
		err := fmt.Errorf("%s: %w before %s, which is served", dir, ErrNoneServable, served.ID)
		if n := len(future); n > 0 {
			err = fmt.Errorf("%w; %s is from the future, so give its ID if it is the right one", err, future[n-1].ID)
		}
		return before, served, err
	}
	if before, err = First(ctx, pin.Candidates(list), check); err != nil {
		err = fmt.Errorf("%s: before %s, which is served: %w", dir, served.ID, err)
	}
	return before, served, err
}

// Message describes the state that p causes. Its author and its reason are as
// they were given, so they may have unprintable characters.
func (p Pin) Message() string {
	if p.Active {
		return "generation " + p.ID.String() + " is " + p.Details()
	}
	return "un" + p.Details() + "; servers serve the newest servable generation"
}

// Details describes p like Message, except its generation.
func (p Pin) Details() string {
	text := "pinned"
	if p.UntilNewer {
		text += " until one newer than " + p.Newest.String() + " is servable,"
	}
	if p.By != "" {
		text += " by " + p.By
	}
	if !p.At.IsZero() {
		text += " at " + p.At.UTC().Format(time.DateTime) + " UTC"
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return text
}

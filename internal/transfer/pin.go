package transfer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"promostore/format/generation"
	"promostore/internal/objects"
)

const maxPinLen = 64 << 10 // bytes of the object

// pinInterval is the time between two looks at the pin during a transfer. Variable
// for tests.
var pinInterval = 5 * time.Second

// errPinMoved ends the round of a pull.
var errPinMoved = errors.New("the pin has moved")

// Pin returns the pin of l. It reports false if l has none. The error wraps
// generation.ErrPin if its text is not a pin.
func (l Location) Pin(ctx context.Context) (pin generation.Pin, found bool, err error) {
	text, err := l.readSmall(ctx, generation.PinName, maxPinLen)
	if errors.Is(err, objects.ErrNotFound) {
		return pin, false, nil
	}
	if err != nil {
		return pin, false, err
	}
	if err := json.Unmarshal(text, &pin); err != nil {
		return pin, false, fmt.Errorf("%w: %s: %w", generation.ErrPin, l.url(generation.PinName), err)
	}
	return pin, true, nil
}

// PushPin copies the pin of dir to l and returns it. It does nothing if dir has
// no pin. A pin that changes during the call is copied again, so that l has the
// newest one.
func (l Location) PushPin(ctx context.Context, dir string) (generation.Pin, error) {
	var sent generation.Pin
	there, found, err := l.Pin(ctx)
	if err != nil && !errors.Is(err, generation.ErrPin) { // replace a damaged one
		return sent, err
	}
	if found {
		sent = there
	}
	for {
		if _, err := os.Lstat(filepath.Join(dir, generation.PinName)); errors.Is(err, fs.ErrNotExist) {
			return sent, nil
		}
		pin, err := generation.ReadPin(dir)
		if err != nil {
			return sent, err
		}
		if found && pin.Equal(sent) {
			return pin, nil
		}
		text, err := pin.MarshalJSON()
		if err != nil {
			return sent, err
		}
		if err := l.putSmall(ctx, generation.PinName, append(text, '\n'), objects.Always); err != nil {
			return sent, err
		}
		sent, found = pin, true
	}
}

// wants reports whether the generation of pin is to be copied to the directory, which
// has list. Where a newer generation has released the pin, Prune may have removed
// the pinned one.
func (p *pull) wants(pin generation.Pin, list []generation.Generation) bool {
	now := time.Now()
	released := slices.ContainsFunc(list, func(g generation.Generation) bool { return pin.ReleasedBy(g.ID, now) })
	return pin.Active && !released
}

// pullPin copies the pin, if it differs. The pinned generation may arrive later.
func (p *pull) pullPin(ctx context.Context) error {
	p.pinMu.Lock()
	defer p.pinMu.Unlock()
	pin, found, err := p.Pin(ctx)
	if err != nil || !found {
		return err
	}
	p.result.Pin = pin
	if here, err := generation.ReadPin(p.dir); err == nil && here.Equal(pin) {
		return nil
	}
	return generation.CopyPin(p.dir, pin)
}

// followPin copies the pin at intervals until stop is called. If the pin has moved
// to a generation that is not here, it cancels the round.
func (p *pull) followPin(ctx context.Context, cancel context.CancelCauseFunc) (stop func()) {
	ctx, end := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(pinInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := p.pullPin(ctx); err == nil && p.pinMoved() { // the last call reports errors
					cancel(errPinMoved)
				}
			}
		}
	}()
	return func() {
		end()
		<-done
	}
}

// pinMoved reports whether the pin names another generation than at the start of
// the round, one that the directory lacks.
func (p *pull) pinMoved() bool {
	p.pinMu.Lock()
	pin := p.result.Pin
	p.pinMu.Unlock()
	list, err := generation.List(p.dir)
	return err == nil && !pin.Equal(p.pin) && p.wants(pin, list) &&
		!slices.ContainsFunc(list, func(g generation.Generation) bool {
			return g.ID == pin.ID && len(g.MissingOf(p.Digits)) == 0
		})
}

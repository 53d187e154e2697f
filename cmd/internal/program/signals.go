package program

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalGap is the least time between the first and the second signal to stop.
// Tools like timeout signal a process and then its group, so that two signals
// at once are one request.
const signalGap = time.Second

// ErrSecondSignal reports that a second signal to stop cut a wait short.
var ErrSecondSignal = errors.New("stopped by a second signal before running requests ended")

// Signals delivers the signals of a server. It is for one goroutine.
type Signals struct {
	C     <-chan os.Signal
	now   func() time.Time
	first time.Time // when the server began to stop
}

// NewSignals returns a Signals that receives from c.
func NewSignals(c <-chan os.Signal, now func() time.Time) *Signals {
	return &Signals{C: c, now: now}
}

// NotifySignals returns a Signals that receives SIGHUP, SIGINT and SIGTERM of
// the process until stop is called.
func NotifySignals() (s *Signals, stop func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	return NewSignals(c, time.Now), func() { signal.Stop(c) }
}

// Stopping records that the server begins to stop. Later signals to stop are
// second ones.
func (s *Signals) Stopping() { s.first = s.now() }

// Wait returns the value that done delivers, or ErrSecondSignal if a second
// signal to stop comes first. Stopping must have been called before.
func (s *Signals) Wait(done <-chan error) error {
	for {
		select {
		case err := <-done:
			return err
		case sig := <-s.C:
			if sig != syscall.SIGHUP && s.now().Sub(s.first) >= signalGap {
				return ErrSecondSignal
			}
		}
	}
}

// Interruptible returns a context that the first SIGINT or SIGTERM cancels, so
// that a command can clean up. The second one ends the process.
func Interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

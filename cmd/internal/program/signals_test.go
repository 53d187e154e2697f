package program_test

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
)

// A second signal ends a wait that would never end. SIGHUP and a signal within
// the first second do not.
func TestWaitEndsWithSecondSignal(t *testing.T) {
	c := make(chan os.Signal)
	var elapsed atomic.Int64
	signals := program.NewSignals(c, func() time.Time { return time.Unix(0, elapsed.Load()) })
	signals.Stopping()
	waited := make(chan error)
	go func() { waited <- signals.Wait(nil) }()
	c <- syscall.SIGTERM
	c <- syscall.SIGHUP // once Wait receives it, Wait has judged the signal before
	elapsed.Store(int64(time.Second))
	c <- syscall.SIGTERM
	if err := <-waited; !errors.Is(err, program.ErrSecondSignal) {
		t.Errorf("Wait returns %v, want %v", err, program.ErrSecondSignal)
	}
}

func TestWaitReturnsResult(t *testing.T) {
	signals := program.NewSignals(nil, time.Now)
	done := make(chan error, 1)
	want := errors.New("result")
	done <- want
	if err := signals.Wait(done); !errors.Is(err, want) {
		t.Errorf("Wait returns %v, want %v", err, want)
	}
}

package program

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"strconv"
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
	C      <-chan os.Signal
	now    func() time.Time
	hungUp func() bool // SIGHUP means that the terminal was closed
	first  time.Time   // when the server began to stop
}

// NewSignals returns a Signals that receives from c. The server has no terminal.
func NewSignals(c <-chan os.Signal, now func() time.Time) *Signals {
	return &Signals{C: c, now: now, hungUp: func() bool { return false }}
}

// NotifySignals returns a Signals that receives SIGHUP, SIGINT and SIGTERM of
// the process until stop is called.
func NotifySignals() (s *Signals, stop func()) {
	c := make(chan os.Signal, 8)
	s = NewSignals(c, time.Now)
	if endsWithTerminal() {
		s.hungUp = func() bool { return !hasTerminal() }
	}
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	return s, func() { signal.Stop(c) }
}

// endsWithTerminal reports whether the process was started in a terminal, and is
// to end with it. Nohup, which ignores SIGHUP, and service managers ask that it
// goes on.
func endsWithTerminal() bool {
	return !signal.Ignored(syscall.SIGHUP) && !managed() && hasTerminal()
}

// managed reports whether a service manager started the process. systemd sets
// INVOCATION_ID, which the shells of a desktop inherit, and SYSTEMD_EXEC_PID,
// which tells them apart.
func managed() bool {
	pid := os.Getenv("SYSTEMD_EXEC_PID")
	return os.Getenv("NOTIFY_SOCKET") != "" ||
		os.Getenv("INVOCATION_ID") != "" && (pid == "" || pid == strconv.Itoa(os.Getpid()))
}

// hasTerminal reports whether the process has a controlling terminal. It has none
// after that was closed.
func hasTerminal() bool {
	f, err := os.OpenFile("/dev/tty", os.O_RDONLY|syscall.O_NOCTTY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Stops reports whether sig asks the server to stop. SIGHUP does if the terminal
// of the server was closed; otherwise it asks to reload.
func (s *Signals) Stops(sig os.Signal) bool { return sig != syscall.SIGHUP || s.hungUp() }

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

// Interruptible returns a context that the first SIGHUP, SIGINT or SIGTERM cancels,
// so that a command can clean up. The second one ends the process. SIGHUP remains
// ignored if it was, as under nohup.
func Interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(parent, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

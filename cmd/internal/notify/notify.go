// Package notify reports the state of a server to the service manager that
// started it, by the protocol of sd_notify(3).
//
// It adds to github.com/coreos/go-systemd/v22/daemon: the time stamp that
// Type=notify-reload needs, a watchdog that depends on a health check, and a
// bound on the wait for a manager that does not read.
//
// Reports are best effort. A report that cannot be sent is logged and dropped.
package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// sendTimeout bounds the wait for a manager that does not read.
const sendTimeout = 5 * time.Second

var errSendTimeout = errors.New("the service manager does not read its socket")

// A Manager is the service manager that started the program, or none. It is
// safe for concurrent use.
type Manager struct {
	watchdog time.Duration // interval; 0 without a watchdog
	log      *slog.Logger
	timeout  time.Duration
	sending  chan struct{} // holds an element while a report is being sent
}

// FromEnvironment returns the manager that NOTIFY_SOCKET names. WATCHDOG_USEC
// and WATCHDOG_PID set its watchdog.
func FromEnvironment(log *slog.Logger) *Manager {
	m := &Manager{log: log, timeout: sendTimeout, sending: make(chan struct{}, 1)}
	if !m.Listens() {
		return m
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("watchdog disabled", "error", err)
		return m
	}
	m.watchdog = max(0, interval) // an interval of 292,000 years overflows
	return m
}

// Listens reports whether a manager takes reports.
func (m *Manager) Listens() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready reports that the program works, at first or again after Reloading.
func (m *Manager) Ready(status string) { m.send(daemon.SdNotifyReady, statusLine(status)) }

// Status describes the state of the program in a sentence.
func (m *Manager) Status(status string) { m.send(statusLine(status)) }

// Reloading reports that the program reads its configuration again. Ready must
// follow.
func (m *Manager) Reloading(status string) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("BUG: " + err.Error()) // every Linux has that clock
	}
	m.send(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000), statusLine(status))
}

// Stopping reports that the program is about to end.
func (m *Manager) Stopping(status string) { m.send(daemon.SdNotifyStopping, statusLine(status)) }

// Watch keeps the watchdog from ending the program, until ctx ends. It reports
// twice an interval, as long as check succeeds. A check that fails or takes
// longer than a quarter of the interval is repeated before the interval is over.
// Without a watchdog Watch returns at once.
func (m *Manager) Watch(ctx context.Context, check func(context.Context) error) {
	if m.watchdog == 0 {
		return
	}
	for {
		pause := m.watchdog / 2
		if err := m.checked(ctx, check); err == nil {
			m.send(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			m.log.Error("health check failed", "error", err)
			pause = m.watchdog / 16
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func (m *Manager) checked(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, m.watchdog/4)
	defer cancel()
	return check(ctx)
}

// statusLine joins the lines of a status, because a line end would begin the
// next variable.
func statusLine(status string) string {
	return "STATUS=" + strings.Join(strings.FieldsFunc(status, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

func (m *Manager) send(variables ...string) {
	if !m.Listens() {
		return
	}
	if err := m.notify(strings.Join(variables, "\n")); err != nil {
		m.log.Warn("service manager not notified", "error", err)
	}
}

// notify sends one datagram. If the manager does not read, one goroutine stays
// until it does, and later reports are dropped. SdNotify has no timeout.
func (m *Manager) notify(state string) error {
	timeout := time.NewTimer(m.timeout)
	defer timeout.Stop()
	select {
	case m.sending <- struct{}{}:
	case <-timeout.C:
		return errSendTimeout
	}
	sent := make(chan error, 1)
	go func() {
		_, err := daemon.SdNotify(false, state)
		<-m.sending
		sent <- err
	}()
	select {
	case err := <-sent:
		return err
	case <-timeout.C:
		return errSendTimeout
	}
}

// Package notify tells the service manager that started the program what
// becomes of it, in the protocol of sd_notify(3): datagrams to the socket that
// NOTIFY_SOCKET names.
//
// It does not promise that anybody listens. What cannot be sent is logged, and
// nothing else comes of it.
package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendTimeout bounds the wait for a manager that reads nothing.
const sendTimeout = 5 * time.Second

// A Manager is who is told. Safe for concurrent use.
type Manager struct {
	socket   string        // empty: there is nobody to tell; @ begins an abstract one
	watchdog time.Duration // 0: none
	log      *slog.Logger
}

// FromEnvironment is the manager that the environment names.
func FromEnvironment(log *slog.Logger) *Manager {
	m := &Manager{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	if m.socket == "" {
		return m
	}
	var err error
	if m.watchdog, err = watchdogOf(os.Getenv("WATCHDOG_USEC"), os.Getenv("WATCHDOG_PID")); err != nil {
		log.Warn("no watchdog", "error", err)
	}
	return m
}

// watchdogOf is the interval of a watchdog, or 0 if there is none or it is
// another process's.
func watchdogOf(usec, pid string) (time.Duration, error) {
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	n, err := strconv.ParseInt(usec, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("WATCHDOG_USEC: %w", err)
	}
	const most = int64(1<<63-1) / int64(time.Microsecond)
	if n <= 0 || n > most {
		return 0, fmt.Errorf("WATCHDOG_USEC: %d is not in 1..%d", n, most)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// Listens reports whether there is anybody to tell.
func (m *Manager) Listens() bool { return m.socket != "" }

// Ready says that the program does its work now, or does again after Reloading.
func (m *Manager) Ready(status string) { m.send("READY=1", statusLine(status)) }

// Status says in a sentence how the program is.
func (m *Manager) Status(status string) { m.send(statusLine(status)) }

// Reloading says that the configuration is read again. Ready must follow.
func (m *Manager) Reloading(status string) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic("BUG: " + err.Error()) // every Linux has that clock
	}
	m.send("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000), statusLine(status))
}

// Stopping says that the program is about to end.
func (m *Manager) Stopping(status string) { m.send("STOPPING=1", statusLine(status)) }

// Watch tells the watchdog twice in each of its intervals that the program is
// alive, as long as check says so, until ctx ends. A check that fails, or
// takes longer than a quarter of the interval, is tried once more before the
// interval is over. Without a watchdog Watch returns at once.
func (m *Manager) Watch(ctx context.Context, check func(context.Context) error) {
	if m.watchdog == 0 {
		return
	}
	for {
		pause := m.watchdog / 2
		if err := m.checked(ctx, check); err == nil {
			m.send("WATCHDOG=1")
		} else if ctx.Err() == nil {
			m.log.Error("watchdog not told", "error", err)
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

// statusLine keeps a status on its line: a line end would begin another
// variable.
func statusLine(status string) string {
	return "STATUS=" + strings.Join(strings.FieldsFunc(status, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// send sends one datagram. The socket is looked up each time, since a manager
// that is started anew has another one under the same name.
func (m *Manager) send(variables ...string) {
	if m.socket == "" {
		return
	}
	if err := sendTo(m.socket, strings.Join(variables, "\n")); err != nil {
		m.log.Warn("service manager not told", "error", err)
	}
}

func sendTo(socket, message string) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err = c.Write([]byte(message))
	return err
}

package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/cmd/internal/notify"
)

// A manager is the socket of a service manager.
type manager struct{ *net.UnixConn }

// listen opens the socket of a manager and names it in the environment.
func listen(t *testing.T, socket string) manager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "")
	t.Setenv("WATCHDOG_PID", "")
	return manager{c}
}

func (m manager) receive(t *testing.T) string {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10_000)
	n, err := m.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func (m manager) want(t *testing.T, message string) {
	t.Helper()
	if got := m.receive(t); got != message {
		t.Errorf("got %q, want %q", got, message)
	}
}

func TestReportsReachTheSocket(t *testing.T) {
	for _, socket := range []string{
		filepath.Join(t.TempDir(), "notify"),
		fmt.Sprintf("@promostore-notify-test-%d", os.Getpid()), // abstract
	} {
		m := listen(t, socket)
		n := notify.FromEnvironment(slog.New(slog.DiscardHandler))
		if !n.Listens() {
			t.Fatal("Listens is false with a socket")
		}
		n.Status("two\nlines\r\nare one")
		m.want(t, "STATUS=two; lines; are one")
		n.Ready("serving")
		m.want(t, "READY=1\nSTATUS=serving")
		before := monotonic(t)
		n.Reloading("reading")
		got := m.receive(t)
		var at int64
		if _, err := fmt.Sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%d\nSTATUS=reading", &at); err != nil || at < before || at > monotonic(t) {
			t.Errorf("%q: %v", got, err)
		}
		n.Stopping("draining")
		m.want(t, "STOPPING=1\nSTATUS=draining")
	}
}

func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// Reports without a manager are silent. Reports to a manager that has gone are
// logged.
func TestReportsWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	var log bytes.Buffer
	n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
	if n.Listens() {
		t.Error("Listens is true without a socket")
	}
	n.Ready("")
	n.Watch(t.Context(), func(context.Context) error { panic("checked without a manager") })
	if log.Len() != 0 {
		t.Errorf("log:\n%s", &log)
	}

	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil))).Ready("")
	if !strings.Contains(log.String(), "no such file") {
		t.Errorf("log:\n%s", &log)
	}
}

// A check that hangs or fails delays the report to the watchdog, and is repeated.
func TestWatchdogFollowsTheCheck(t *testing.T) {
	m := listen(t, filepath.Join(t.TempDir(), "notify"))
	const interval = 80 * time.Millisecond
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(interval.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	var log bytes.Buffer
	n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
	ctx, stop := context.WithCancel(t.Context())
	checks := 0
	began := time.Now()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		n.Watch(ctx, func(ctx context.Context) error {
			checks++
			switch checks {
			case 2:
				n.Status("hangs")
				<-ctx.Done() // after a quarter of the interval
				return ctx.Err()
			case 3:
				n.Status("fails")
				return errors.New("no answer")
			}
			return nil
		})
	}()
	for _, message := range []string{"WATCHDOG=1", "STATUS=hangs", "STATUS=fails", "WATCHDOG=1", "WATCHDOG=1"} {
		m.want(t, message)
	}
	// Two pauses of half an interval, the check that hangs, two short pauses.
	if took, least := time.Since(began), interval/2+interval/4+interval/16+interval/16+interval/2; took < least {
		t.Errorf("all reports within %v, want at least %v", took, least)
	}
	stop()
	<-watched
	for _, want := range []string{"deadline exceeded", "no answer"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("no %q in the log:\n%s", want, &log)
		}
	}
}

// A watchdog of another process, or with an invalid interval, is ignored.
func TestWatchdogDisabled(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		logged    string
	}{
		{"", "", ""},
		{"1000", "1", ""},
		{"often", "", "WATCHDOG_USEC"},
		{"0", "", "WATCHDOG_USEC"},
		{"-1", "", "WATCHDOG_USEC"},
		{"1000", "init", "WATCHDOG_PID"},
		{"9223372036854775807", "", ""},
	} {
		listen(t, filepath.Join(t.TempDir(), "notify"))
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		var log bytes.Buffer
		n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
		n.Watch(t.Context(), func(context.Context) error { panic("checked without a watchdog") })
		if !strings.Contains(log.String(), c.logged) || c.logged == "" && log.Len() != 0 {
			t.Errorf("%q %q: log %q, want %q", c.usec, c.pid, &log, c.logged)
		}
	}
}

// A manager that does not read delays a report by the timeout, and leaves no more
// than one goroutine.
func TestManagerThatDoesNotRead(t *testing.T) {
	m := listen(t, filepath.Join(t.TempDir(), "notify"))
	var log bytes.Buffer
	n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
	n.SetTimeout(time.Second)
	n.Status("0")
	n.SetTimeout(5 * time.Millisecond)
	before := runtime.NumGoroutine()
	for i := range 1000 { // more than the queue of a socket, 10 by default
		n.Status(strconv.Itoa(i + 1))
		if strings.Count(log.String(), "does not read") == 3 {
			break
		}
	}
	if got := strings.Count(log.String(), "does not read"); got != 3 {
		t.Fatalf("%d reports failed, want 3", got)
	}
	if added := runtime.NumGoroutine() - before; added > 1 {
		t.Errorf("%d goroutines were added", added)
	}
	m.want(t, "STATUS=0") // reports that were sent arrive, in their order
	m.want(t, "STATUS=1")
}

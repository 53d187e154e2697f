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
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/cmd/internal/notify"
)

// A manager receives what is sent to it.
type manager struct{ *net.UnixConn }

// listen makes the environment name a manager with this socket.
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

func TestMessages(t *testing.T) {
	for _, socket := range []string{
		filepath.Join(t.TempDir(), "notify"),
		fmt.Sprintf("@promostore-notify-test-%d", os.Getpid()), // abstract
	} {
		m := listen(t, socket)
		n := notify.FromEnvironment(slog.New(slog.DiscardHandler))
		if !n.Listens() {
			t.Fatal("there is a socket and nobody listens")
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

// TestNobody tells nobody, and then somebody who is gone.
func TestNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	var log bytes.Buffer
	n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
	if n.Listens() {
		t.Error("somebody listens")
	}
	n.Ready("")
	n.Watch(t.Context(), func(context.Context) error { panic("asked for nobody") })
	if log.Len() != 0 {
		t.Errorf("log:\n%s", &log)
	}

	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil))).Ready("")
	if !strings.Contains(log.String(), "no such file") {
		t.Errorf("log:\n%s", &log)
	}
}

// TestWatchdog is told only what a check says, and again once it does.
func TestWatchdog(t *testing.T) {
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
				<-ctx.Done() // in time
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
	// Two halves between three that were told, and the quarter that hangs.
	if took, least := time.Since(began), interval/2+interval/4+interval/16+interval/16+interval/2; took < least {
		t.Errorf("told within %v, want %v at least", took, least)
	}
	stop()
	<-watched
	for _, want := range []string{"deadline exceeded", "no answer"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("no %q in the log:\n%s", want, &log)
		}
	}
}

// TestNoWatchdog has one that is another process's, or makes no sense.
func TestNoWatchdog(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		logged    string
	}{
		{"", "", ""},
		{"1000", "1", ""},
		{"often", "", "WATCHDOG_USEC"},
		{"0", "", "WATCHDOG_USEC"},
		{"-1", "", "WATCHDOG_USEC"},
		{"9223372036854776", "", "WATCHDOG_USEC"},
	} {
		listen(t, filepath.Join(t.TempDir(), "notify"))
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		var log bytes.Buffer
		n := notify.FromEnvironment(slog.New(slog.NewTextHandler(&log, nil)))
		n.Watch(t.Context(), func(context.Context) error { panic("asked for no watchdog") })
		if !strings.Contains(log.String(), c.logged) || c.logged == "" && log.Len() != 0 {
			t.Errorf("%q %q: log %q, want %q", c.usec, c.pid, &log, c.logged)
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/cmd/internal/notify"
	"promostore/format/generation"
)

// A serviceManager is the socket of a service manager.
type serviceManager struct{ *net.UnixConn }

// newServiceManager returns the manager of servers that the test starts later.
func newServiceManager(t *testing.T, watchdog time.Duration) serviceManager {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	if watchdog == 0 {
		t.Setenv("WATCHDOG_USEC", "")
	}
	t.Setenv("WATCHDOG_PID", "")
	return serviceManager{c}
}

// want receives messages until one matches. Other messages than a status fail the
// test.
func (m serviceManager) want(t *testing.T, pattern string) {
	t.Helper()
	must(t, m.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 10_000)
	for {
		n, err := m.Read(b)
		if err != nil {
			t.Fatalf("no message matches %q: %v", pattern, err)
		}
		got := string(b[:n])
		if regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			return
		}
		if !strings.HasPrefix(got, "STATUS=") {
			t.Fatalf("got %q, want %q", got, pattern)
		}
	}
}

// A server whose directory cannot be read is not ready until it can.
func TestSupervisorReportsUnreadableDirectory(t *testing.T) {
	m := newServiceManager(t, 0)
	s := newServer(t)
	parent := filepath.Join(t.TempDir(), "parent")
	s.dir = filepath.Join(parent, "data")
	must(t, os.WriteFile(parent, nil, 0o600))
	s.start(t, "--drain", "1h", "--tls-self-signed")
	m.want(t, "STATUS=no generation is live; directory cannot be read: .*not a directory")
	s.signals <- syscall.SIGHUP // a reload does not make the server ready
	s.await(t, "certificate loaded")
	must(t, os.Remove(parent))
	m.want(t, "READY=1\nSTATUS=no generation is live")

	s.build(t, "9.68")
	m.want(t, "STATUS=serving generation [0-9TZ]+")
	name := generation.Name{ID: generation.IDOf(time.Now().Add(time.Hour)), Shards: 1}
	must(t, os.WriteFile(filepath.Join(s.dir, name.String()), []byte("PROMOGEN"), 0o600))
	m.want(t, "STATUS=serving generation [0-9TZ]+; generation "+name.ID.String()+" refused: .*")
	s.signals <- syscall.SIGHUP
	m.want(t, "RELOADING=1\nMONOTONIC_USEC=[0-9]+\nSTATUS=reloading")
	m.want(t, "READY=1\nSTATUS=serving generation .*refused.*")
	must(t, os.Remove(filepath.Join(s.dir, name.String())))
	s.signals <- syscall.SIGTERM
	m.want(t, "STOPPING=1\nSTATUS=draining")
}

// A server with only a bad generation becomes ready with the first good one.
func TestSupervisorReadyWithFirstGoodGeneration(t *testing.T) {
	m := newServiceManager(t, 0)
	s := newServer(t)
	must(t, os.Mkdir(s.dir, 0o700))
	bad := generation.Name{ID: generation.IDOf(time.Now()), Shards: 1}
	must(t, os.WriteFile(filepath.Join(s.dir, bad.String()), []byte("PROMOGEN"), 0o600))
	s.start(t)
	m.want(t, "STATUS=no generation is live; generation "+bad.ID.String()+" refused: .*")
	s.build(t, "9.68")
	m.want(t, "READY=1\nSTATUS=serving generation [0-9TZ]+")
}

// The watchdog hears from a server of every kind, also at its connection limit.
func TestWatchdogOfServer(t *testing.T) {
	for name, flags := range map[string][]string{
		"http":  nil,
		"both":  {"--tls-self-signed"},
		"https": {"--tls-self-signed", "--tls-only"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newServiceManager(t, 400*time.Millisecond)
			s := start(t, append(flags, "--max-conns-per-ip", "1")...)
			m.wantWatchdog(t)
			// From here another client has the only connection of this address. A
			// running check may have connected before it, the next one did not.
			c, err := net.Dial("tcp", s.address)
			must(t, err)
			defer c.Close()
			m.wantWatchdog(t)
			m.wantWatchdog(t)
		})
	}
}

func (m serviceManager) wantWatchdog(t *testing.T) {
	t.Helper()
	must(t, m.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 10_000)
	for {
		n, err := m.Read(b)
		must(t, err)
		if string(b[:n]) == "WATCHDOG=1" {
			return
		}
	}
}

// The watchdog hears from a server that answers, and not from one that hangs.
func TestWatchdogOfHungServer(t *testing.T) {
	const interval = 400 * time.Millisecond
	m := newServiceManager(t, interval)
	var code atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code.Load() == 0 {
			<-r.Context().Done() // hangs
			return
		}
		w.WriteHeader(int(code.Load()))
	}))
	defer other.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts no connection
	must(t, err)
	defer mute.Close()
	gone := "127.0.0.1:0"

	for _, c := range []struct {
		name    string
		address string
		code    int64
		alive   bool
	}{
		{"answers", other.Listener.Addr().String(), 200, true},
		{"at its limit for this address", other.Listener.Addr().String(), 429, true},
		{"at its limit", other.Listener.Addr().String(), 503, true},
		{"panics", other.Listener.Addr().String(), 500, false},
		{"hangs", other.Listener.Addr().String(), 0, false},
		{"accepts nothing", mute.Addr().String(), 0, false},
		{"does not listen", gone, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			code.Store(c.code)
			log, stderr := io.Pipe()
			defer log.Close()
			s := &supervisor{manager: notify.FromEnvironment(slog.New(slog.NewTextHandler(stderr, nil)))}
			ctx, stop := context.WithCancel(t.Context())
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				s.watch(ctx, c.address, false)
				stderr.Close()
			}()
			if c.alive {
				m.wantWatchdog(t)
			} else if _, err := fmt.Fscanln(log); errors.Is(err, io.EOF) {
				t.Error("the log has no line")
			}
			stop()
			_, _ = io.Copy(io.Discard, log)
			<-watched
			if !c.alive {
				m.wantSilence(t)
			}
			m.drain(t)
		})
	}
}

// wantSilence fails if a message was sent.
func (m serviceManager) wantSilence(t *testing.T) {
	t.Helper()
	if n := m.drain(t); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// drain receives the messages that were sent and returns their number. It does
// not wait.
func (m serviceManager) drain(t *testing.T) (messages int) {
	t.Helper()
	conn, err := m.SyscallConn()
	must(t, err)
	must(t, conn.Control(func(fd uintptr) {
		for b := make([]byte, 1000); ; messages++ {
			if _, _, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT); err != nil {
				return
			}
		}
	}))
	if !errors.Is(err, unix.EAGAIN) {
		t.Error(err)
	}
	return messages
}

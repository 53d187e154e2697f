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

// A serviceManager receives what the programs that it started tell it.
type serviceManager struct{ *net.UnixConn }

// newServiceManager is the manager of what the test starts from now on.
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

// want receives messages up to the first that matches, and fails if it is
// anything but a status that is not the one.
func (m serviceManager) want(t *testing.T, pattern string) {
	t.Helper()
	must(t, m.SetReadDeadline(time.Now().Add(20*time.Second)))
	b := make([]byte, 10_000)
	for {
		n, err := m.Read(b)
		if err != nil {
			t.Fatalf("nothing like %q: %v", pattern, err)
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

// TestNotifyFromUnreadable begins with a directory that cannot be read.
func TestNotifyFromUnreadable(t *testing.T) {
	m := newServiceManager(t, 0)
	s := newServer(t)
	parent := filepath.Join(t.TempDir(), "parent")
	s.dir = filepath.Join(parent, "data")
	must(t, os.WriteFile(parent, nil, 0o600))
	s.start(t, "--drain", "1h", "--tls-self-signed")
	m.want(t, "STATUS=no generation yet; directory cannot be read: .*not a directory")
	s.signals <- syscall.SIGHUP // the manager did not ask for it, and it makes nothing ready
	s.await(t, "certificate loaded")
	must(t, os.Remove(parent))
	m.want(t, "READY=1\nSTATUS=no generation yet")

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

// TestNotifyReady is ready with the generation, not before.
func TestNotifyReady(t *testing.T) {
	m := newServiceManager(t, 0)
	s := newServer(t)
	must(t, os.Mkdir(s.dir, 0o700))
	bad := generation.Name{ID: generation.IDOf(time.Now()), Shards: 1}
	must(t, os.WriteFile(filepath.Join(s.dir, bad.String()), []byte("PROMOGEN"), 0o600))
	s.start(t)
	m.want(t, "STATUS=no generation yet; generation "+bad.ID.String()+" refused: .*")
	s.build(t, "9.68")
	m.want(t, "READY=1\nSTATUS=serving generation [0-9TZ]+")
}

// TestWatchdog is told by servers of every kind.
func TestWatchdog(t *testing.T) {
	for name, flags := range map[string][]string{
		"http":  nil,
		"both":  {"--tls-self-signed"},
		"https": {"--tls-self-signed", "--tls-only"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newServiceManager(t, 400*time.Millisecond)
			s := start(t, append(flags, "--max-conns-per-ip", "1")...)
			m.wantWatchdog(t)
			// Now somebody else has the only connection of this address. The
			// check under way may have been before that, the next is not.
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

// TestWatchdogOfHung lets the port answer in all the ways of a server that is
// well and of one that is not.
func TestWatchdogOfHung(t *testing.T) {
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
	mute, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	must(t, err)
	defer mute.Close()
	gone := "127.0.0.1:0"

	for _, c := range []struct {
		name    string
		address string
		code    int64
		told    bool
	}{
		{"well", other.Listener.Addr().String(), 200, true},
		{"no connection for this address", other.Listener.Addr().String(), 429, true},
		{"no connection", other.Listener.Addr().String(), 503, true},
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
			if c.told {
				m.wantWatchdog(t)
			} else if _, err := fmt.Fscanln(log); errors.Is(err, io.EOF) {
				t.Error("the log ends")
			}
			stop()
			_, _ = io.Copy(io.Discard, log)
			<-watched
			if !c.told {
				m.wantSilence(t)
			}
			m.drain(t)
		})
	}
}

// wantSilence fails if anything was sent.
func (m serviceManager) wantSilence(t *testing.T) {
	t.Helper()
	if n := m.drain(t); n != 0 {
		t.Errorf("told %d times", n)
	}
}

// drain takes what was sent, and returns how much that is. It does not wait.
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

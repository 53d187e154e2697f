package httpd_test

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"promostore/httpd"
	"promostore/reader"
)

// A failingListener returns its errors from the first Accepts.
type failingListener struct {
	net.Listener
	errors []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errors) > 0 {
		err := l.errors[0]
		l.errors = l.errors[1:]
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}
	}
	return l.Listener.Accept()
}

func TestServeRetriesAcceptAfterShortage(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.base = "http://" + ln.Addr().String()
	f.serve(t, &failingListener{ln, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}}, &http.Transport{})
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)
	if got := f.metric(t, "promoserve_http_accept_errors_total"); got != "4" {
		t.Errorf("%s errors counted, want 4", got)
	}
	if n := strings.Count(f.log.String(), "connections wait to be accepted"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, f.log)
	}
}

func TestShutdownEndsAcceptRetries(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f.serve(t, &failingListener{ln, slices.Repeat([]error{syscall.EMFILE}, 1000)}, &http.Transport{})
}

func TestServeReturnsPermanentAcceptError(t *testing.T) {
	srv := httpd.New(httpd.Options{Logger: slog.New(slog.DiscardHandler)})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	if err := srv.Serve(&failingListener{ln, []error{syscall.EINVAL}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve: %v, want %v", err, syscall.EINVAL)
	}
}

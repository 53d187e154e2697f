package updater_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

// An updater without file descriptors logs and counts it, and accepts the
// waiting connection when there is one again.
func TestShortageOfDescriptorsIsLoggedAndCounted(t *testing.T) {
	f := start(t, nil)
	f.get(t, "/healthz") // opens the descriptors of the network poller
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 256
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)) })
	var fillers []*os.File
	release := func(n int) {
		for _, f := range fillers[len(fillers)-n:] {
			f.Close()
		}
		fillers = fillers[:len(fillers)-n]
	}
	for {
		file, err := os.Open(os.DevNull)
		if err != nil {
			if !errors.Is(err, syscall.EMFILE) {
				t.Fatal(err)
			}
			break
		}
		fillers = append(fillers, file)
	}
	release(1) // for the client
	c, err := net.Dial("tcp", f.address)
	must(t, err)
	defer c.Close()
	await(t, "failed attempt to accept", func() bool { return f.AcceptErrors() > 0 })
	release(len(fillers))
	_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	must(t, err)
	text, err := io.ReadAll(c)
	must(t, err)
	if !strings.HasPrefix(string(text), "HTTP/1.1 200 ") {
		t.Errorf("answer %q", text)
	}
	if got := f.metric(t, "promobuild_accept_errors_total"); got == "0" {
		t.Error("promobuild_accept_errors_total is 0")
	}
	f.stop(t)
	if n := strings.Count(f.log.String(), `level=ERROR msg="connections wait to be accepted"`); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, f.log)
	}
}

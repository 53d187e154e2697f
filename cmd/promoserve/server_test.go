package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/builder"
	"promostore/cmd/internal/program"
)

const (
	exampleID   = "172FFC14-D229-4C93-B06B-F48B8C095512"
	exampleJSON = `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":%s,"expiration_date":"2022-06-04 06:01:20"}`
)

// A server is a promoserve that runs in a goroutine of the test or in a process.
type server struct {
	dir     string
	address string
	logged  chan map[string]any // the lines of the log
	signals chan os.Signal
	exited  chan struct{} // closed after code is set
	code    int
	elapsed atomic.Int64 // nanoseconds on the clock of the server
}

func (s *server) now() time.Time { return time.Unix(0, s.elapsed.Load()) }

// later advances the clock by a second and sends a signal.
func (s *server) later(sig os.Signal) {
	s.elapsed.Add(int64(time.Second))
	s.signals <- sig
}

// start runs promoserve over an empty directory and waits until it listens.
func start(t *testing.T, flags ...string) *server {
	t.Helper()
	s := newServer(t)
	s.start(t, flags...)
	return s
}

func (s *server) start(t *testing.T, flags ...string) {
	t.Helper()
	log, stderr := io.Pipe()
	go s.read(log)
	args := append([]string{"promoserve", "--data", s.dir, "--listen", "127.0.0.1:0", "--log-format", "json", "--poll", "5ms"}, flags...)
	go func() {
		code := run(args, environment{io.Discard, stderr, program.NewSignals(s.signals, s.now)})
		stderr.Close()
		s.code = code
		close(s.exited)
	}()
	t.Cleanup(func() {
		for {
			s.elapsed.Add(int64(time.Second)) // the second signal cuts the drain short
			select {
			case s.signals <- syscall.SIGTERM:
			case <-s.exited:
				return
			}
		}
	})
	s.address = s.await(t, "serving")["address"].(string)
}

func newServer(t *testing.T) *server {
	return &server{
		dir:     filepath.Join(t.TempDir(), "data"),
		logged:  make(chan map[string]any, 1000),
		signals: make(chan os.Signal),
		exited:  make(chan struct{}),
	}
}

// startProcess starts the server in a process of its own and awaits its address.
func (s *server) startProcess(t *testing.T, process *exec.Cmd) {
	t.Helper()
	log, err := process.StderrPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill() })
	go s.read(log)
	s.address = s.await(t, "serving")["address"].(string)
}

func (s *server) read(log io.Reader) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		line := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			line["msg"] = lines.Text()
		}
		s.logged <- line
	}
	close(s.logged)
}

// await returns the next line of the log with this message.
func (s *server) await(t *testing.T, message string) map[string]any {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-s.logged:
			if !ok {
				t.Fatalf("the log ends without %q", message)
			}
			if line["msg"] == message {
				return line
			}
		case <-timeout:
			t.Fatalf("the log has no %q after 20 s", message)
		}
	}
}

func (s *server) awaitExit(t *testing.T) int {
	t.Helper()
	select {
	case <-s.exited:
		return s.code
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not exit within 20 s")
		return 0
	}
}

// build publishes a generation of one row with the given price.
func (s *server) build(t *testing.T, price string) {
	t.Helper()
	csv := exampleID + "," + price + ",2022-06-04 06:01:20\n"
	_, err := builder.Build(context.Background(), builder.Options{
		Inputs: []builder.Input{builder.StreamInput("test", strings.NewReader(csv))},
		Dir:    s.dir,
		Memory: builder.MinMemory,
	})
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get returns the status code and the body of an answer, without the newline at
// the end of JSON. It opens a connection for each request.
func (s *server) get(t *testing.T, scheme, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	res, err := client.Get(scheme + "://" + s.address + path)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	text, ended := strings.CutSuffix(string(body), "\n")
	if !ended {
		t.Errorf("%s: no newline at the end: %q", path, body)
	}
	return res.StatusCode, text
}

func (s *server) want(t *testing.T, scheme, path string, code int, body string) {
	t.Helper()
	if gotCode, gotBody := s.get(t, scheme, path); gotCode != code || gotBody != body {
		t.Errorf("%s %s: %d %s, want %d %s", scheme, path, gotCode, gotBody, code, body)
	}
}

// status returns the object of /status.
func (s *server) status(t *testing.T) map[string]any {
	t.Helper()
	_, body := s.get(t, "http", "/status")
	st := map[string]any{}
	must(t, json.Unmarshal([]byte(body), &st))
	return st
}

// metrics returns the metrics.
func (s *server) metrics(t *testing.T) string {
	t.Helper()
	_, body := s.get(t, "http", "/prometheus")
	return body
}

// swap exchanges two directories at once.
func swap(t *testing.T, a, b string) {
	t.Helper()
	must(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
}

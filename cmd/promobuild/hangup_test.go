package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"promostore/cmd/internal/program"
	"promostore/cmd/internal/scripttest"
	"promostore/internal/gentest"
	"promostore/internal/synth"
)

// A session is a process in a terminal of its own.
type session struct {
	*exec.Cmd
	screen *os.File    // closing it closes the terminal
	rest   chan string // standard error after the awaited line
}

// inTerminal starts a program in a terminal of its own, and returns when its standard
// error has a line with want.
func inTerminal(t *testing.T, want string, stdin *os.File, name string, args ...string) *session {
	t.Helper()
	scripttest.DefaultSIGHUP(t)
	s := &session{Cmd: exec.Command(name, args...), rest: make(chan string, 1)}
	s.Dir = t.TempDir() // where nohup writes standard output
	s.Env = append(os.Environ(), "NOTIFY_SOCKET=", "INVOCATION_ID=")
	r, stderr, err := os.Pipe()
	gentest.Must(t, err)
	t.Cleanup(func() { r.Close() })
	s.Stderr = stderr
	if stdin != nil {
		s.Stdin = stdin
	}
	const stdout = 1 // is the terminal
	s.screen, err = pty.StartWithAttrs(s.Cmd, nil, &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: stdout})
	stderr.Close()
	gentest.Must(t, err)
	t.Cleanup(func() {
		_ = s.Process.Kill()
		_ = s.Wait()
		s.screen.Close()
	})
	lines := bufio.NewReader(r)
	for text := ""; !strings.Contains(text, want); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("standard error ends without %q: %v", want, err)
		}
	}
	go func() {
		text, _ := io.ReadAll(lines)
		s.rest <- string(text)
	}()
	return s
}

// end waits for the end of the process, and returns the rest of standard error and
// the exit code.
func (s *session) end() (string, int) {
	text := <-s.rest
	return text, exitCode(s.Wait())
}

// openPipe returns a pipe.
func openPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	gentest.Must(t, err)
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// A build and an updater end when their terminal is closed, and clean up.
func TestClosedTerminalStops(t *testing.T) {
	data, spill := filepath.Join(t.TempDir(), "data"), t.TempDir()
	r, _ := openPipe(t)
	s := inTerminal(t, "read the input", r, "promobuild", "build", "--data", data, "--tmp", spill, "-")
	s.screen.Close()
	text, code := s.end()
	if code != program.ExitFailed || !strings.Contains(text, "interrupted; nothing was published") {
		t.Errorf("build exits with %d: %s", code, text)
	}
	if left := append(files(t, data), files(t, spill)...); len(left) > 0 {
		t.Errorf("the build left %v", left)
	}
	s = inTerminal(t, "msg=serving", nil, "promobuild", "updater", "--data", data, "--listen", "127.0.0.1:0")
	s.screen.Close()
	text, code = s.end()
	if code != program.ExitDone || !strings.Contains(text, "msg=stopped") {
		t.Errorf("the updater exits with %d: %s", code, text)
	}
}

// A build under nohup survives its terminal.
func TestNohupBuildOutlivesTerminal(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	r, w := openPipe(t)
	s := inTerminal(t, "read the input", r, "nohup", "promobuild", "build", "--data", data, "-")
	s.screen.Close()
	gentest.Must(t, s.Process.Signal(syscall.SIGHUP))
	_, err := synth.DataSet{Rows: 10}.WriteTo(w)
	gentest.Must(t, err)
	gentest.Must(t, w.Close())
	if text, code := s.end(); code != program.ExitDone {
		t.Errorf("build exits with %d: %s", code, text)
	}
	if got := files(t, data); len(got) != 1 {
		t.Errorf("the build left %v", got)
	}
}

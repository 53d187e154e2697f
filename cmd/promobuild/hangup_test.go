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
)

// inTerminal starts promobuild in a terminal of its own, and returns when its
// standard error has a line with want. hangUp closes the terminal and returns the
// rest of standard error and the exit code.
func inTerminal(t *testing.T, want string, stdin *os.File, args ...string) (hangUp func() (string, int)) {
	t.Helper()
	cmd := exec.Command("promobuild", args...)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=", "INVOCATION_ID=")
	r, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.Stderr = stderr
	if stdin != nil {
		cmd.Stdin = stdin
	}
	const stdout = 1 // is the terminal
	screen, err := pty.StartWithAttrs(cmd, nil, &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: stdout})
	stderr.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(r)
	for text := ""; !strings.Contains(text, want); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("standard error ends without %q: %v", want, err)
		}
	}
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(lines)
		rest <- string(text)
	}()
	return func() (string, int) {
		screen.Close()
		text := <-rest
		return text, exitCode(cmd.Wait())
	}
}

// A build and an updater end when their terminal is closed, and clean up.
func TestClosedTerminalStops(t *testing.T) {
	data, spill := filepath.Join(t.TempDir(), "data"), t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	hangUp := inTerminal(t, "read the input", r, "build", "--data", data, "--tmp", spill, "-")
	text, code := hangUp()
	if code != program.ExitFailed || !strings.Contains(text, "interrupted; nothing was published") {
		t.Errorf("build exits with %d: %s", code, text)
	}
	if left := append(files(t, data), files(t, spill)...); len(left) > 0 {
		t.Errorf("the build left %v", left)
	}
	hangUp = inTerminal(t, "msg=serving", nil, "updater", "--data", data, "--listen", "127.0.0.1:0")
	text, code = hangUp()
	if code != program.ExitDone || !strings.Contains(text, "msg=stopped") {
		t.Errorf("the updater exits with %d: %s", code, text)
	}
}

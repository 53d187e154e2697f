package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"promostore/cmd/internal/scripttest"
)

// interactive is a command line of startSession that types SERVER into a shell.
const interactive = "exec bash --norc -i"

// startSession runs a command line in a new session. The word SERVER stands for a
// call of promoserve. The session has a terminal, which hangUp closes, or none.
func (s *server) startSession(t *testing.T, terminal bool, line string, env ...string) (cmd *exec.Cmd, hangUp func()) {
	t.Helper()
	scripttest.DefaultSIGHUP(t)
	const call = `promoserve --data "$DATA" --listen 127.0.0.1:0 --log-format json --poll 1h --drain 0s`
	line = strings.Replace(line, "SERVER", call, 1)
	cmd = exec.Command("bash", "--norc", "-c", line)
	cmd.Env = append(append(os.Environ(), "TERM=dumb", "DATA="+s.dir, "NOTIFY_SOCKET=", "INVOCATION_ID=", "SYSTEMD_EXEC_PID="), env...)
	log, stderr, err := os.Pipe()
	must(t, err)
	cmd.Stderr = stderr
	hangUp = func() {}
	if terminal {
		screen, err := pty.Start(cmd)
		must(t, err)
		if line == interactive {
			_, err := screen.WriteString(call + "\n")
			must(t, err)
		}
		hangUp = func() { screen.Close() }
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		must(t, cmd.Start())
	}
	stderr.Close()
	go s.read(log)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		hangUp()
	})
	s.address = s.await(t, "serving")["address"].(string)
	return cmd, hangUp
}

// A server in the foreground of a terminal ends with it, whether a shell runs it or
// not. The next server finds its port free.
func TestClosedTerminalStopsServer(t *testing.T) {
	for name, line := range map[string]string{
		"leader":             "exec SERVER",
		"child of a script":  "SERVER; true",
		"job of a shell":     interactive,
		"pipe":               "SERVER | cat",
		"shell of a desktop": "export INVOCATION_ID=x SYSTEMD_EXEC_PID=1; exec SERVER",
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.build(t, "1.00")
			_, hangUp := s.startSession(t, true, line)
			s.await(t, "generation live")
			hangUp()
			if signal := s.await(t, "draining")["signal"]; signal != "hangup" {
				t.Errorf("signal %v, want hangup", signal)
			}
			s.await(t, "stopped")
		})
	}
}

// SIGHUP reloads while the terminal is open, and where a server is to survive its
// terminal or has none.
func TestSIGHUPReloadsWithoutClosedTerminal(t *testing.T) {
	for _, c := range []struct {
		name, line string
		close      bool
		env        []string
	}{
		{"terminal open", "exec SERVER", false, nil},
		{"nohup", "exec nohup SERVER >/dev/null", true, nil}, // else it makes a file for the output
		{"no terminal", "exec SERVER", false, nil},
		{"notified service", "exec SERVER", true, []string{"NOTIFY_SOCKET=/nonexistent"}},
		{"service on a terminal", "export INVOCATION_ID=x SYSTEMD_EXEC_PID=$$; exec SERVER", true, nil},
		{"older service manager", "exec SERVER", true, []string{"INVOCATION_ID=x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t)
			s.build(t, "1.00")
			cmd, hangUp := s.startSession(t, c.name != "no terminal", c.line, c.env...)
			s.await(t, "generation live")
			s.build(t, "9.68")
			if c.close {
				hangUp() // the kernel sends SIGHUP, except under nohup
			}
			must(t, cmd.Process.Signal(syscall.SIGHUP))
			s.await(t, "generation live")
			s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))
			must(t, cmd.Process.Signal(syscall.SIGTERM))
			s.await(t, "stopped")
		})
	}
}

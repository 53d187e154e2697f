package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"promostore/internal/gentest"
)

// A shell is an interactive shell on a terminal.
type shell struct {
	*os.File
	mu     sync.Mutex
	screen string // since the last call of typed
}

// startShell starts a shell in dir and runs setup in it.
func startShell(t *testing.T, dir string, argv []string, setup string) *shell {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=dumb", "HOME="+dir, "PS1=$ ", "HISTFILE=/dev/null", "LC_ALL=C.UTF-8", "PROMO_DATA=")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	s := &shell{File: screen}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := screen.Read(buf)
			s.mu.Lock()
			s.screen += string(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		screen.Close()
		<-copied
	})
	s.typed(t, setup+"; echo re''ady\n", "ready")
	return s
}

// typed types text and waits until the screen shows want.
func (s *shell) typed(t *testing.T, text, want string) {
	t.Helper()
	s.mu.Lock()
	s.screen = ""
	s.mu.Unlock()
	if _, err := io.WriteString(s, text); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		screen := strings.ReplaceAll(escapes.ReplaceAllString(s.screen, ""), "\a", "")
		s.mu.Unlock()
		if strings.Contains(screen, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %q the screen shows %q, want %q", text, screen, want)
		}
	}
}

// completionCases are unfinished command lines, and what a tab adds to them.
var completionCases = []struct{ line, want string }{
	{"promobuild ver", "promobuild verify "},
	{"promobuild build --mem", "promobuild build --memory "},
	{"promobuild build --duplicates fi", "promobuild build --duplicates first "},
	{"promobuild build --duplicates=fi", "promobuild build --duplicates=first "},
	{"promobuild build ro", "promobuild build rows.csv "},
	{"promobuild build --data da", "promobuild build --data data/"},
	{"promobuild build --rejects=ro", "promobuild build --rejects=rows.csv "},
	{"promobuild pin 20261122T1", "promobuild pin 20261122T100000000Z "},
	{"promobuild pin --data other 20261122T1", "promobuild pin --data other 20261122T120000000Z "},
	{"promobuild pin --data=other 2", "promobuild pin --data=other 20261122T120000000Z "},
	{"promobuild diff 2", "promobuild diff 20261122T100000000Z"},
	{"promobuild get --generation 2", "promobuild get --generation 20261122T100000000Z "},
	{"promobuild completion z", "promobuild completion zsh "},
	{"promobuild help rol", "promobuild help rollback "},
}

// completes checks the completions of a shell.
func completes(t *testing.T, argv []string, setup string) {
	t.Helper()
	dir := t.TempDir()
	rows, err := os.ReadFile("../../testdata/promotions.csv")
	if err != nil {
		t.Fatal(err)
	}
	gentest.Must(t, os.WriteFile(filepath.Join(dir, "rows.csv"), rows, 0o644))
	for data, id := range map[string]string{"data": "20261122T100000000Z", "other": "20261122T120000000Z"} {
		out, err := exec.Command("promobuild", "build", "--quiet", "--data", filepath.Join(dir, data), "--generation", id, "../../testdata/promotions.csv").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s := startShell(t, dir, argv, setup)
	for _, c := range completionCases {
		s.typed(t, c.line+"\t", c.want)
		s.typed(t, "\x15echo do''ne\n", "done") // erases the line
	}
}

func TestCompletionInBash(t *testing.T) {
	completes(t, []string{"bash", "--norc", "--noprofile", "-i"}, "source <(promobuild completion bash)")
}

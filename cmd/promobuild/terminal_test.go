package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/creack/pty"

	"promostore/internal/gentest"
	"promostore/internal/synth"
)

// openTerminal returns a terminal of that width. closed closes it and returns the
// text that was written to it.
func openTerminal(t *testing.T, columns uint16) (tty *os.File, resize func(columns uint16), closed func() string) {
	t.Helper()
	screen, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	resize = func(columns uint16) {
		t.Helper()
		gentest.Must(t, pty.Setsize(screen, &pty.Winsize{Rows: 24, Cols: columns}))
	}
	resize(columns)
	var text bytes.Buffer
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(&text, screen) // ends with EIO after the last close of tty
		close(copied)
	}()
	return tty, resize, func() string {
		tty.Close()
		<-copied
		screen.Close()
		return text.String()
	}
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)

// longestLine returns the number of columns that the longest line takes.
func longestLine(text string) (longest int) {
	for _, line := range strings.FieldsFunc(escapes.ReplaceAllString(text, ""), func(r rune) bool { return r == '\r' || r == '\n' }) {
		longest = max(longest, utf8.RuneCountInString(line))
	}
	return longest
}

func TestTerminalCutsLines(t *testing.T) {
	tty, resize, closed := openTerminal(t, 20)
	w := &terminal{file: tty}
	line := "\r" + strings.Repeat("█x", 60)
	for _, p := range []string{line[:7], line[7:] + "\x1b[0K", line} {
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("Write: %d, %v, want %d", n, err, len(p))
		}
	}
	if _, err := io.WriteString(tty, "\n===\n"); err != nil {
		t.Fatal(err)
	}
	resize(10)
	if _, err := io.WriteString(w, line); err != nil {
		t.Fatal(err)
	}
	wide, narrow, _ := strings.Cut(closed(), "===")
	if got := longestLine(wide); got != 19 {
		t.Errorf("%d columns of 20 are used, want 19: %q", got, wide)
	}
	if !strings.Contains(wide, "\x1b[0K") {
		t.Errorf("no escape sequence in %q", wide)
	}
	if got := longestLine(narrow); got != 9 {
		t.Errorf("%d columns of 10 are used, want 9: %q", got, narrow)
	}
}

// The progress of a build stays on one line of a narrow terminal.
func TestProgressFitsTerminal(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.csv")
	f, err := os.Create(rows)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Rows: 1_000_000}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	gentest.Must(t, f.Close())
	tty, _, closed := openTerminal(t, 30)
	build := exec.Command("promobuild", "build", "--data", t.TempDir(), "--memory", "64MiB", rows)
	build.Stderr = tty
	gentest.Must(t, build.Run())
	text := closed()
	if got := longestLine(text); got > 29 || got == 0 {
		t.Errorf("%d columns of 30 are used, want at most 29: %q", got, text)
	}
	if !strings.Contains(text, "read ") || !strings.Contains(text, "rows") {
		t.Errorf("no progress in %q", text)
	}
}

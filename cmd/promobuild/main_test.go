package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/cmd/internal/program"
)

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// commandLine returns the words of a promobuild command. DIR stands for dir,
// whose path may contain blanks.
func commandLine(text, dir string) []string {
	words := strings.Fields("promobuild " + text)
	for i, word := range words {
		words[i] = strings.Replace(word, "DIR", dir, 1)
	}
	return words
}

// A command that only prints is silent when its reader has gone. Other errors of the
// output are reported.
func TestClosedOutputIsSilent(t *testing.T) {
	data := t.TempDir()
	args := commandLine("build --quiet --data DIR ../../testdata/promotions.csv", data)
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); code != program.ExitDone {
		t.Fatalf("build exits with %d: %s", code, &stderr)
	}
	for _, args := range []string{
		"dump DIR", "list DIR", "inspect DIR", "verify DIR", "generate --rows 1", "completion zsh",
		"get DIR 172FFC14-D229-4C93-B06B-F48B8C095512",
	} {
		for _, c := range []struct {
			err   error
			quiet bool
		}{{syscall.EPIPE, true}, {errors.New("no paper"), false}} {
			var stderr bytes.Buffer
			code := run(context.Background(), commandLine(args, data), strings.NewReader(""), brokenWriter{c.err}, &stderr)
			if code != program.ExitFailed || strings.Contains(stderr.String(), "promobuild: ") == c.quiet {
				t.Errorf("%s, %v: exits with %d and prints %q", args, c.err, code, &stderr)
			}
		}
	}
}

// A build reports that its output cannot be written. Without its summary the
// generation is published; without its rejects it is not.
func TestClosedOutputOfBuildIsReported(t *testing.T) {
	for _, err := range []error{syscall.EPIPE, errors.New("no paper")} {
		for _, flag := range []string{"", "--json"} {
			data := t.TempDir()
			args := commandLine("build --generation 20261122T103000123Z --data DIR ../../testdata/promotions.csv "+flag, data)
			var stderr bytes.Buffer
			code := run(context.Background(), args, strings.NewReader(""), brokenWriter{err}, &stderr)
			want := "build: generation 20261122T103000123Z is published, but its summary cannot be printed: " + err.Error()
			if code != program.ExitFailed || !strings.Contains(stderr.String(), want) {
				t.Errorf("%v, %s: exits with %d and prints %q", err, flag, code, &stderr)
			}
			if names := files(t, data); len(names) != 1 {
				t.Errorf("%v, %s: files %v", err, flag, names)
			}
		}
	}

	// A named pipe whose reader closes it after the header row, while the pipe is
	// full of later rows.
	dir := t.TempDir()
	pipe := filepath.Join(dir, "rejects")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		f, err := os.Open(pipe)
		if err == nil {
			_, err = f.Read(make([]byte, 1))
			err = errors.Join(err, f.Close())
		}
		gone <- err
	}()
	var stdout, stderr bytes.Buffer
	args := commandLine("build --quiet --max-bad-rows 100000 --data DIR --rejects DIR/"+filepath.Base(pipe)+" -", dir)
	code := run(context.Background(), args, strings.NewReader(strings.Repeat("bad\n", 20_000)), &stdout, &stderr)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	if code != program.ExitFailed || !strings.Contains(stderr.String(), "rejects: ") || !strings.Contains(stderr.String(), syscall.EPIPE.Error()) {
		t.Errorf("rejects without a reader: exits with %d and prints %q", code, &stderr)
	}
}

func TestCanceledBuildPublishesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	data := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"promobuild", "build", "--quiet", "--data", data, "../../testdata/promotions.csv"}
	if code := run(ctx, args, strings.NewReader(""), &stdout, &stderr); code != program.ExitFailed || stdout.Len() > 0 {
		t.Errorf("exits with %d: %s%s", code, &stdout, &stderr)
	}
	if !strings.Contains(stderr.String(), "interrupted; nothing was published") {
		t.Errorf("the build prints %q", &stderr)
	}
	if left := files(t, data); len(left) > 0 {
		t.Errorf("the build left %v", left)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

// An output that nobody reads any more is no error to tell; any other is.
func TestBrokenOutput(t *testing.T) {
	data := t.TempDir()
	args := strings.Fields("promobuild build --quiet --data " + data + " ../../testdata/promotions.csv")
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), args, strings.NewReader(""), &stdout, &stderr); code != exitDone {
		t.Fatalf("build exits with %d: %s", code, &stderr)
	}
	for _, args := range []string{
		"dump " + data, "list " + data, "inspect " + data, "verify " + data, "generate --rows 1", "completion zsh",
		"get " + data + " 172FFC14-D229-4C93-B06B-F48B8C095512",
	} {
		for _, c := range []struct {
			err   error
			quiet bool
		}{{syscall.EPIPE, true}, {errors.New("no paper"), false}} {
			var stderr bytes.Buffer
			code := run(context.Background(), strings.Fields("promobuild "+args), strings.NewReader(""), brokenWriter{c.err}, &stderr)
			if code != exitFailed || (stderr.Len() == 0) != c.quiet {
				t.Errorf("%s, %v: exits with %d and says %q", args, c.err, code, &stderr)
			}
		}
	}
}

// A build can be stopped by its context, too.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	data := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"promobuild", "build", "--quiet", "--data", data, "../../testdata/promotions.csv"}
	if code := run(ctx, args, strings.NewReader(""), &stdout, &stderr); code != exitFailed || stdout.Len() > 0 {
		t.Errorf("exits with %d: %s%s", code, &stdout, &stderr)
	}
	if !strings.Contains(stderr.String(), "interrupted: nothing was published") {
		t.Errorf("it says %q", &stderr)
	}
	if left := files(t, data); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

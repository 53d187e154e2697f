package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"promostore/cmd/internal/program"
)

const quietRow = "172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2018-08-04 05:32:31 +0200 CEST\n"

// Waiting begins again with every change, and ends when all files were unchanged
// for the whole time.
func TestWaitQuiet(t *testing.T) { synctest.Test(t, testWaitQuiet) }

func testWaitQuiet(t *testing.T) {
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b"), "-"}
	for _, path := range paths[:2] {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var now atomic.Int64 // seconds
	tick := make(chan time.Time)
	w := watch{func() time.Time { return time.Unix(now.Load(), 0) }, tick}
	done := make(chan error, 1)
	go func() { done <- w.wait(context.Background(), paths, 10*time.Second) }()
	poll := func(at int64) {
		now.Store(at)
		tick <- time.Time{}
		synctest.Wait() // until the poll has ended
	}
	poll(0)
	poll(9) // 9 s after the start, the files are unchanged
	if err := os.WriteFile(paths[1], []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	poll(18) // a change is seen
	poll(27) // 9 s after it
	select {
	case err := <-done:
		t.Fatalf("wait returns %v too early", err)
	default:
	}
	now.Store(28)
	tick <- time.Time{}
	if err := <-done; err != nil {
		t.Error(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.wait(ctx, paths, time.Second); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if err := w.wait(context.Background(), []string{filepath.Join(dir, "none")}, time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
}

// A build warns of a file that a process has open for writing, with its size.
func TestBuildWarnsOfWriter(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "in.csv")
	writer, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if _, err := writer.WriteString(quietRow); err != nil {
		t.Fatal(err)
	}
	build := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"promobuild", "build", "--quiet", "--data", filepath.Join(dir, "data")}, args...)
		if code := run(context.Background(), append(args, path), strings.NewReader(""), &stdout, &stderr); code != program.ExitDone {
			t.Fatalf("%v: exits with %d: %s", args, code, &stderr)
		}
		return stderr.String()
	}
	want := "warning: " + path + " is open for writing and may be incomplete; it has 73 bytes now. To wait for it: --wait-quiet 30s\n"
	for _, args := range [][]string{nil, {"--wait-quiet", "10ms"}} {
		if got := build(args...); got != want {
			t.Errorf("%v: standard error %q, want %q", args, got, want)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if got := build(); got != "" {
		t.Errorf("standard error %q, want none", got)
	}
}

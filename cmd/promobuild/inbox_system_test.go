//go:build system

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/synth"
)

// unprivileged is a user without capabilities, like that of promo-updater.service.
var unprivileged = &syscall.Credential{Uid: 65534, Gid: 65534}

// An updater without capabilities cannot get a lease on a file of another user.
// It must not publish such a file while its owner still writes.
func TestInboxWaitsForOtherUser(t *testing.T) {
	dir := t.TempDir()
	program, err := exec.LookPath("promobuild")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Dir(program)} {
		for ; path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	data, inbox := filepath.Join(dir, "data"), filepath.Join(dir, "inbox")
	for _, path := range []string{data, inbox} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, int(unprivileged.Uid), int(unprivileged.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	startUpdaterAs(t, unprivileged, "--data", data, "--inbox", inbox, "--inbox-quiet", "6s")

	// The file of root comes first by name, and stays open.
	const rows = 1000
	var csv bytes.Buffer
	if _, err := (synth.DataSet{Rows: rows}).WriteTo(&csv); err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(csv.String(), "\n")
	slow, err := os.OpenFile(filepath.Join(inbox, "a.csv"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.WriteString(first + "\n"); err != nil {
		t.Fatal(err)
	}

	// A file of the updater needs no quiet time. Two polls that see it also see a.csv
	// unchanged.
	own := filepath.Join(inbox, "b.csv")
	if err := os.WriteFile(own+".tmp", []byte(first+"\n"+rest[:strings.Index(rest, "\n")+1]), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(own+".tmp", int(unprivileged.Uid), int(unprivileged.Gid)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(own+".tmp", own); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, inbox, 1)
	wantRecords(t, data, 2)

	if _, err := slow.WriteString(rest); err != nil {
		t.Fatal(err)
	}
	if err := slow.Close(); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, inbox, 2)
	wantRecords(t, data, 2, rows)
}

// awaitDone waits until the inbox has published n files.
func awaitDone(t *testing.T, inbox string, n int) {
	t.Helper()
	timeout := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(files(t, filepath.Join(inbox, "done"))) < n {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("done has %d files, want %d", len(files(t, filepath.Join(inbox, "done"))), n)
		}
	}
}

// wantRecords checks the number of records of each generation, oldest first.
func wantRecords(t *testing.T, data string, want ...int64) {
	t.Helper()
	list, err := generation.List(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range list {
		h, err := g.Header()
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || int64(h.Records) != want[i] {
			t.Errorf("generation %d has %d records, want %v", i, h.Records, want)
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d generations, want %d", len(list), len(want))
	}
}

//go:build system

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format/generation"
	"promostore/internal/synth"
)

// unprivileged is a user without capabilities, like that of promo-updater.service.
var unprivileged = &syscall.Credential{Uid: 65534, Gid: 65534}

// newOtherUserInbox returns the directories of an updater without capabilities,
// which cannot get a lease on a file of another user, such as the tests.
func newOtherUserInbox(t *testing.T) (data, inbox string) {
	t.Helper()
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
	data, inbox = filepath.Join(dir, "data"), filepath.Join(dir, "inbox")
	for _, path := range []string{data, inbox} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, int(unprivileged.Uid), int(unprivileged.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return data, inbox
}

// dataSet returns a CSV file of this number of rows.
func dataSet(t *testing.T, rows int64) string {
	t.Helper()
	var csv bytes.Buffer
	if _, err := (synth.DataSet{Rows: rows}).WriteTo(&csv); err != nil {
		t.Fatal(err)
	}
	return csv.String()
}

// The updater must not take a file of another user that is still written,
// whatever it looks like and however long its writer pauses.
func TestInboxWaitsUntilOtherUserClosesFile(t *testing.T) {
	data, inbox := newOtherUserInbox(t)
	startUpdaterAs(t, unprivileged, "--data", data, "--inbox", inbox, "--inbox-quiet", "2s", "--max-bad-rows", "1")
	csv := dataSet(t, 1000)
	files := map[string]*os.File{}
	for name, prepare := range map[string]func(w *os.File) error{
		"created.csv": func(w *os.File) error { return nil },
		"half.csv":    func(w *os.File) error { _, err := w.WriteString(csv[:len(csv)/2]); return err },
		"preallocated.csv": func(w *os.File) error {
			_, err := w.WriteString(csv[:1000])
			return errors.Join(err, unix.Fallocate(int(w.Fd()), 0, 0, int64(len(csv))))
		},
	} {
		w, err := os.Create(filepath.Join(inbox, name))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if err := prepare(w); err != nil {
			t.Fatal(err)
		}
		files[name] = w
	}
	// The quiet time of this file, which is complete, ends after that of the others.
	if err := os.WriteFile(filepath.Join(inbox, "z.csv"), []byte(dataSet(t, 2)), 0o644); err != nil {
		t.Fatal(err)
	}
	awaitDone(t, inbox, 1)
	wantRecords(t, data, 2)
	for _, w := range files {
		_, err := w.WriteAt([]byte(csv), 0)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	awaitDone(t, inbox, 4)
	wantRecords(t, data, 2, 1000, 1000, 1000)
}

// The updater does not know the writer of a file that was there when it started.
// It then waits for the quiet time.
func TestInboxWaitsForOtherUser(t *testing.T) {
	data, inbox := newOtherUserInbox(t)

	// The file of root comes first by name, and stays open.
	const rows = 1000
	first, rest, _ := strings.Cut(dataSet(t, rows), "\n")
	slow, err := os.OpenFile(filepath.Join(inbox, "a.csv"), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := slow.WriteString(first + "\n"); err != nil {
		t.Fatal(err)
	}

	startUpdaterAs(t, unprivileged, "--data", data, "--inbox", inbox, "--inbox-quiet", "6s")

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

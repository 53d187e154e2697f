package updater_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/updater"
)

func withInbox(dir string) func(*updater.Options) {
	return func(o *updater.Options) { o.Inbox = dir }
}

// newInboxFixture returns an updater whose inbox is polled by the test only.
func newInboxFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, withInbox(t.TempDir()))
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	return f
}

// put moves a complete file into the inbox.
func (f *fixture) put(t *testing.T, name, text string) {
	t.Helper()
	temp := filepath.Join(f.inbox, name+".tmp")
	must(t, os.WriteFile(temp, []byte(text), 0o644))
	must(t, os.Rename(temp, filepath.Join(f.inbox, name)))
}

func (f *fixture) poll(t *testing.T, times int) {
	t.Helper()
	for range times {
		must(t, f.PollInbox())
	}
}

func TestInboxBuildsFiles(t *testing.T) {
	f := start(t, withInbox(filepath.Join(t.TempDir(), "inbox")))
	f.put(t, "a.csv", dataSet(t, 10))
	f.put(t, "b.csv.gz", gzipped(t, dataSet(t, 20)))
	f.put(t, "c.csv", "bad\n")
	await(t, "three builds", func() bool { return len(f.builds(t)) == 3 })
	for i, want := range []string{"c.csv bad_rows", "b.csv.gz published", "a.csv published"} {
		if b := f.builds(t)[i]; fmt.Sprint(b["name"], " ", b["result"]) != want || b["source"] != "inbox" {
			t.Errorf("build %d: %v, want %s", i, b, want)
		}
	}
	await(t, "every file is moved", func() bool {
		st := f.inboxStatus(t)
		return st["waiting"] == 0. && st["done"] == 2. && st["failed"] == 1.
	})
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv", "b.csv.gz")
	wantFiles(t, filepath.Join(f.inbox, "failed"), "c.csv", "c.csv.errors")
	wantFiles(t, f.inbox)
	f.wantGenerations(t, 10, 20)
}

func TestInboxBuildsInOrderOfNames(t *testing.T) {
	f := newInboxFixture(t)
	for _, i := range []int{3, 1, 4, 2, 5} {
		f.put(t, fmt.Sprintf("%d.csv", i), dataSet(t, int64(i)))
	}
	f.poll(t, 1)
	f.wantGenerations(t) // the files may still grow
	f.poll(t, 1)
	f.wantGenerations(t, 1, 2, 3, 4, 5)
}

func TestInboxIgnoresIncompleteFiles(t *testing.T) {
	f := newInboxFixture(t)
	csv := dataSet(t, 100)
	must(t, os.Mkdir(filepath.Join(f.inbox, "dir.csv"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(f.inbox, "link.csv")))
	must(t, syscall.Mkfifo(filepath.Join(f.inbox, "pipe.csv"), 0o600))
	f.poll(t, 3)
	f.wantGenerations(t)

	path := filepath.Join(f.inbox, "a.csv")
	must(t, os.WriteFile(path, []byte(csv[:1000]), 0o644))
	f.poll(t, 1)
	must(t, os.WriteFile(path, []byte(csv), 0o644)) // grows between two polls
	f.poll(t, 1)
	f.wantGenerations(t)

	// A program that has the file open may write more after any pause.
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	f.poll(t, 3)
	f.wantGenerations(t)
	must(t, w.Close())
	f.poll(t, 1)
	f.wantGenerations(t, 100)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
}

func TestInboxReportsRejectedFiles(t *testing.T) {
	f := newFixture(t, func(o *updater.Options) {
		o.Inbox = t.TempDir()
		o.Hint = func(error) updater.Hint { return updater.Hint{Text: "use --flag"} }
	})
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	for name, text := range map[string]string{
		"bad.csv": dataSet(t, 3) + "bad,row\n", "cut.gz": gzipped(t, dataSet(t, 100))[:500], "empty.csv": "",
		"many.csv": strings.Repeat(strings.Repeat("y", 5000)+"\n", 10_000),
	} {
		f.put(t, name, text)
	}
	now := time.Now()
	f.SetInboxClock(func() time.Time { return now })
	f.poll(t, 2)
	now = now.Add(30 * time.Second) // the empty file could have been reserved for its content
	f.poll(t, 1)
	f.wantGenerations(t)
	failed := filepath.Join(f.inbox, "failed")
	wantFiles(t, failed, "bad.csv", "bad.csv.errors", "cut.gz", "cut.gz.errors", "empty.csv", "empty.csv.errors", "many.csv", "many.csv.errors")
	for name, want := range map[string]string{
		"bad.csv": "bad.csv:4:1: row: 2 fields", "cut.gz": "truncated", "empty.csv": "no promotions", "many.csv": "and 9980 more",
	} {
		report, err := os.ReadFile(filepath.Join(failed, name+".errors"))
		must(t, err)
		if !strings.Contains(string(report), want) || len(report) > 20<<10 {
			t.Errorf("%s: report of %d bytes without %q: %.500s", name, len(report), want, report)
		}
		if !strings.HasSuffix(string(report), "use --flag\n") {
			t.Errorf("%s: report without a hint: %.500s", name, report)
		}
	}
	// The name of a rejected file can be used again.
	f.put(t, "bad.csv", "bad\n")
	f.poll(t, 2)
	if got := files(t, failed); len(got) != 10 || !strings.HasPrefix(got[1], "bad.csv.2") || got[2] != got[1]+".errors" {
		t.Errorf("files in failed: %q", got)
	}
}

func TestInboxAppendsGenerationToUsedNames(t *testing.T) {
	f := newInboxFixture(t)
	for rows := range int64(3) {
		f.put(t, "a.csv", dataSet(t, rows+1))
		f.poll(t, 2)
	}
	f.wantGenerations(t, 1, 2, 3)
	list, err := generation.List(f.data)
	must(t, err)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv", "a.csv."+list[1].ID.String(), "a.csv."+list[2].ID.String())
}

func TestInboxWaitsForOtherProcess(t *testing.T) {
	f := newInboxFixture(t)
	f.put(t, "a.csv", dataSet(t, 5))
	w, err := generation.OpenWriter(f.data)
	must(t, err)
	f.poll(t, 1)
	for range 3 {
		if err := f.PollInbox(); !errors.Is(err, generation.ErrLocked) {
			t.Errorf("error %v, want %v", err, generation.ErrLocked)
		}
	}
	must(t, w.Close())
	f.poll(t, 2)
	f.wantGenerations(t, 5)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
	wantFiles(t, filepath.Join(f.inbox, "failed"))
}

func TestInboxLogsRepeatedErrorOnce(t *testing.T) {
	f := newInboxFixture(t)
	for range 2 {
		w, err := generation.OpenWriter(f.data)
		must(t, err)
		f.put(t, "a.csv", dataSet(t, 5))
		for range 5 {
			f.StepInbox()
		}
		must(t, w.Close())
		f.StepInbox()
	}
	f.wantGenerations(t, 5, 5)
	if n := strings.Count(f.log.String(), "msg=inbox"); n != 2 {
		t.Errorf("%d log lines, want 2: %s", n, f.log)
	}
}

func TestInboxWaitsForUpload(t *testing.T) {
	f := start(t, withInbox(t.TempDir()))
	csv := dataSet(t, 1000)
	c := f.dial(t, fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(csv), csv[:1000]))
	f.awaitBuilding(t, true)
	f.put(t, "a.csv", dataSet(t, 5))
	await(t, "the file is waiting", func() bool { return f.inboxStatus(t)["waiting"] == 1. })
	_, err := c.Write([]byte(csv[1000:]))
	must(t, err)
	readAnswer(t, c).want(t, 201, "")
	await(t, "the file is built", func() bool { return len(f.builds(t)) == 2 })
	f.wantGenerations(t, 1000, 5)
}

func TestNewRejectsInboxOfOtherUpdater(t *testing.T) {
	f := newInboxFixture(t)
	other := updater.Options{Inbox: f.inbox}
	other.Build.Dir = t.TempDir()
	if _, err := updater.New(other); err == nil || !strings.Contains(err.Error(), "in use by another updater") {
		t.Errorf("error %v", err)
	}
}

func TestNewRejectsDataDirectoryAsInbox(t *testing.T) {
	data := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(data, link))
	for _, dir := range []string{data, link} {
		opts := updater.Options{Inbox: dir, Logger: slog.New(slog.DiscardHandler)}
		opts.Build.Dir = data
		if _, err := updater.New(opts); err == nil || !strings.Contains(err.Error(), "is the directory of the generations") {
			t.Errorf("%s: error %v", dir, err)
		}
		wantFiles(t, data)
	}
}

// A file that changes during its build is not published. It waits until two
// polls see it unchanged.
func TestInboxBuildsChangedFileAgain(t *testing.T) {
	dir := t.TempDir()
	change := func() {
		w, err := os.OpenFile(filepath.Join(dir, ".building", "a.csv"), os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		_, err = w.WriteString("172FFC14-D229-4C93-B06B-F48B8C095512,9.68,2022-06-04 06:01:20\n")
		must(t, errors.Join(err, w.Close()))
	}
	f := newFixture(t, func(o *updater.Options) {
		o.Inbox = dir
		o.Logger = slog.New(&onMessage{o.Logger.Handler(), "build started", sync.OnceFunc(change)})
	})
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	f.put(t, "a.csv", dataSet(t, 10))
	f.poll(t, 2)
	f.wantGenerations(t)
	wantFiles(t, dir, "a.csv")
	f.poll(t, 2)
	f.wantGenerations(t, 11)
	wantFiles(t, filepath.Join(dir, "done"), "a.csv")
	wantFiles(t, filepath.Join(dir, "failed"))
}

// onMessage is a handler that calls do when it receives a message.
type onMessage struct {
	slog.Handler
	message string
	do      func()
}

func (h *onMessage) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &onMessage{h.Handler.WithAttrs(attrs), h.message, h.do}
}

func (h *onMessage) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.do()
	}
	return h.Handler.Handle(ctx, r)
}

// TestStatusListsNoFilesOfUnreadableInbox checks that the list of files is empty, not
// null, when the inbox cannot be read, and before it was read.
func TestStatusListsNoFilesOfUnreadableInbox(t *testing.T) {
	inbox := filepath.Join(t.TempDir(), "inbox")
	f := newFixture(t, withInbox(inbox))
	must(t, os.RemoveAll(inbox))
	must(t, os.WriteFile(inbox, nil, 0o644))
	f.serve(t, nil)
	await(t, "an error", func() bool { _, _, _, errors := f.InboxCounts(); return errors > 0 })
	if names, ok := f.inboxStatus(t)["names"].([]any); !ok || len(names) > 0 {
		t.Errorf("the inbox is %v", f.inboxStatus(t))
	}
}

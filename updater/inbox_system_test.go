//go:build system

package updater_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/updater"
)

// mount mounts a tmpfs until the test ends or calls unmount.
func mount(t *testing.T, dir, size string) (unmount func()) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
	unmount = func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }
	t.Cleanup(unmount)
	return unmount
}

// fill writes a file until its file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for _, n := range []int{4096, 1} {
		for b := make([]byte, n); err == nil; {
			_, err = f.Write(b)
		}
		err = nil
	}
}

// newClockInbox returns an updater whose inbox has a clock that advance moves.
func newClockInbox(t *testing.T, data, inbox string) (f *fixture, advance func()) {
	t.Helper()
	f = newFixture(t, func(o *updater.Options) { o.Build.Dir, o.Inbox = data, inbox })
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	now := time.Now()
	f.SetInboxClock(func() time.Time { return now })
	return f, func() { now = now.Add(2 * time.Minute) }
}

func (f *fixture) wantCounts(t *testing.T, waiting, failed, stuck int, errors uint64) {
	t.Helper()
	if w, d, s, e := f.InboxCounts(); w != waiting || d != failed || s != stuck || e != errors {
		t.Errorf("%d waiting, %d failed, %d stuck, %d errors; want %d, %d, %d, %d", w, d, s, e, waiting, failed, stuck, errors)
	}
}

// A file that cannot be moved, here to another file system, does not stop the
// others. It is built once, and moved when that is possible.
func TestInboxGoesOnAfterFailedMove(t *testing.T) {
	f, advance := newClockInbox(t, t.TempDir(), t.TempDir())
	done, failed := filepath.Join(f.inbox, "done"), filepath.Join(f.inbox, "failed")
	unmountDone, unmountFailed := mount(t, done, "1m"), mount(t, failed, "1m")
	f.put(t, "a.csv", dataSet(t, 1))
	f.put(t, "b.csv", "bad\n")
	f.put(t, "c.csv", dataSet(t, 3))
	f.poll(t, 5)
	f.wantGenerations(t, 1, 3)
	wantFiles(t, filepath.Join(f.inbox, ".building"), "b.csv")
	wantFiles(t, failed) // no report without its file
	f.wantCounts(t, 1, 0, 3, 5)
	advance()
	f.poll(t, 1)
	f.wantCounts(t, 1, 0, 3, 8)

	unmountDone()
	unmountFailed()
	advance()
	f.poll(t, 1)
	wantFiles(t, done, "a.csv", "c.csv")
	wantFiles(t, failed, "b.csv", "b.csv.errors")
	f.wantGenerations(t, 1, 3)
	f.wantCounts(t, 0, 1, 0, 8)
	if n := strings.Count(f.log.String(), "build started"); n != 3 {
		t.Errorf("%d builds, want 3", n)
	}
}

// A file that the disk of the generations has no room for waits.
func TestInboxWaitsForDiskSpace(t *testing.T) {
	data := t.TempDir()
	mount(t, data, "1m")
	f, advance := newClockInbox(t, data, t.TempDir())
	filler := filepath.Join(data, "filler")
	fill(t, filler)
	f.put(t, "a.csv", dataSet(t, 1000))
	f.poll(t, 5)
	wantFiles(t, filepath.Join(f.inbox, ".building"), "a.csv")
	f.wantCounts(t, 1, 0, 1, 1)
	must(t, os.Remove(filler))
	advance()
	f.poll(t, 1)
	f.wantGenerations(t, 1000)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
	f.wantCounts(t, 0, 0, 0, 1)
}

// A rejected file waits for the room for its report.
func TestInboxWaitsForReportSpace(t *testing.T) {
	inbox := t.TempDir()
	mount(t, inbox, "1m")
	f, advance := newClockInbox(t, t.TempDir(), inbox)
	f.put(t, "a.csv", "bad\n")
	filler := filepath.Join(inbox, ".filler")
	fill(t, filler)
	f.poll(t, 5)
	failed := filepath.Join(inbox, "failed")
	wantFiles(t, failed)
	f.wantCounts(t, 1, 0, 1, 1)
	must(t, os.Remove(filler))
	advance()
	f.poll(t, 1)
	wantFiles(t, failed, "a.csv", "a.csv.errors")
	report, err := os.ReadFile(filepath.Join(failed, "a.csv.errors"))
	must(t, err)
	if !strings.Contains(string(report), "a.csv:1:1") {
		t.Errorf("report %q", report)
	}
	if n := strings.Count(f.log.String(), "build started"); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

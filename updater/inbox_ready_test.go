package updater_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/updater"
)

// A slowInbox is an inbox with its own clock, whose kernel does not tell whether
// a process writes to a file, as with the files of other users.
type slowInbox struct {
	*fixture
	now time.Time
}

func newSlowInbox(t *testing.T) *slowInbox {
	t.Helper()
	f := &slowInbox{newInboxFixture(t), time.Now()}
	f.SetInboxClock(func() time.Time { return f.now })
	f.SetInboxLease(func(*os.File) error { return unix.EACCES })
	return f
}

// pass polls every second for a time. No file must be taken meanwhile.
func (f *slowInbox) pass(t *testing.T, d time.Duration) {
	t.Helper()
	for range d / time.Second {
		f.now = f.now.Add(time.Second)
		must(t, f.PollInbox())
	}
	for _, sub := range []string{".building", "done", "failed"} {
		wantFiles(t, filepath.Join(f.inbox, sub))
	}
}

// wantBuilt polls until the quiet time has passed and checks that the only file
// is built.
func (f *slowInbox) wantBuilt(t *testing.T, name string, records int) {
	t.Helper()
	f.pass(t, 30*time.Second) // the first poll sees the latest change
	f.now = f.now.Add(time.Second)
	f.poll(t, 1)
	f.wantGenerations(t, records)
	wantFiles(t, filepath.Join(f.inbox, "done"), name)
	wantFiles(t, filepath.Join(f.inbox, "failed"))
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = w.WriteString(text)
	must(t, errors.Join(err, w.Close()))
}

// A file that grows every 20 s for 10 minutes is taken once, when it is complete,
// although no process has it open in between.
func TestInboxWaitsForGrowingFile(t *testing.T) {
	f := newSlowInbox(t)
	path := filepath.Join(f.inbox, "a.csv")
	must(t, os.WriteFile(path, nil, 0o644))
	for row := range strings.Lines(dataSet(t, 30)) {
		f.pass(t, 20*time.Second)
		appendTo(t, path, row)
	}
	f.wantBuilt(t, "a.csv", 30)
}

// A file whose space is reserved first changes neither its size nor its number
// of blocks.
func TestInboxWaitsForPreallocatedFile(t *testing.T) {
	f := newSlowInbox(t)
	csv := dataSet(t, 30)
	path := filepath.Join(f.inbox, "a.csv")
	w, err := os.OpenFile(filepath.Join(f.inbox, "a.csv.tmp"), os.O_WRONLY|os.O_CREATE, 0o644)
	must(t, err)
	must(t, unix.Fallocate(int(w.Fd()), 0, 0, int64(len(csv))))
	must(t, w.Close())
	must(t, os.Rename(path+".tmp", path))
	for i := 0; i < len(csv); i += 100 {
		f.pass(t, 20*time.Second)
		w, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		_, err = w.WriteAt([]byte(csv[i:min(i+100, len(csv))]), int64(i))
		must(t, errors.Join(err, w.Close()))
	}
	f.wantBuilt(t, "a.csv", 30)
}

// Writers set the times of a file, and the clock of its file system differs from
// that of the updater. Only changes of these times matter.
func TestInboxIgnoresTimesOfFiles(t *testing.T) {
	for name, modified := range map[string]time.Time{
		"past":   time.Unix(0, 0),
		"future": time.Now().AddDate(10, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			f := newSlowInbox(t)
			path := filepath.Join(f.inbox, "a.csv")
			must(t, os.WriteFile(path, []byte(dataSet(t, 3)), 0o644))
			must(t, os.Chtimes(path, modified, modified))
			f.pass(t, 20*time.Second)
			for range 3 { // the same times each, as rsync and tar set them
				w, err := os.OpenFile(path, os.O_WRONLY, 0)
				must(t, err)
				_, err = w.WriteString("1")
				must(t, errors.Join(err, w.Close(), os.Chtimes(path, modified, modified)))
				f.pass(t, 20*time.Second)
			}
			appendTo(t, path, "")
			must(t, os.WriteFile(path, []byte(dataSet(t, 3)), 0o644))
			must(t, os.Chtimes(path, modified, modified))
			f.wantBuilt(t, "a.csv", 3)
		})
	}
}

// A process may create a file and pause for longer than the quiet time, such as
// a slow query whose output goes to the file.
func TestInboxWaitsForCreatorToCloseFile(t *testing.T) {
	for name, start := range map[string]string{"empty": "", "incomplete": dataSet(t, 2)} {
		t.Run(name, func(t *testing.T) {
			f := newSlowInbox(t)
			path := filepath.Join(f.inbox, "a.csv")
			w, err := os.Create(path)
			must(t, err)
			defer w.Close()
			_, err = w.WriteString(start)
			must(t, err)
			f.pass(t, 10*time.Minute)
			must(t, os.Rename(path, filepath.Join(f.inbox, "b.csv"))) // still open
			f.pass(t, 10*time.Minute)
			_, err = w.WriteString(dataSet(t, 5)[len(start):])
			must(t, err)
			f.pass(t, 10*time.Minute)
			must(t, w.Close())
			// The file has not changed since, so the quiet time is over.
			f.now = f.now.Add(time.Second)
			f.poll(t, 1)
			f.wantGenerations(t, 5)
			wantFiles(t, filepath.Join(f.inbox, "done"), "b.csv")
			if n := strings.Count(f.log.String(), "waits until the process that writes it closes it"); n != 3 {
				t.Errorf("%d warnings, want one for each state of the file: %s", n, f.log)
			}
		})
	}
}

// No process has the file open, but it looks as if its content
// is still to come.
func TestInboxWaitsForContentOfClosedFile(t *testing.T) {
	csv := dataSet(t, 1000) // of several file-system blocks
	for name, prepare := range map[string]func(w *os.File) error{
		"created":      func(w *os.File) error { return nil },
		"truncated":    func(w *os.File) error { return w.Truncate(int64(len(csv))) },
		"preallocated": func(w *os.File) error { return unix.Fallocate(int(w.Fd()), 0, 0, int64(len(csv))) },
		"begun": func(w *os.File) error {
			_, err := w.WriteString(csv[:len(csv)/2])
			return errors.Join(err, w.Truncate(int64(len(csv))))
		},
		"written from the end": func(w *os.File) error {
			_, err := w.WriteAt([]byte(csv[len(csv)-100:]), int64(len(csv)-100))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newInboxFixture(t)
			now := time.Now()
			f.SetInboxClock(func() time.Time { return now })
			path := filepath.Join(f.inbox, "a.csv")
			w, err := os.Create(path)
			must(t, err)
			must(t, errors.Join(prepare(w), w.Close()))
			f.poll(t, 2)
			now = now.Add(29 * time.Second)
			f.poll(t, 1)
			wantFiles(t, filepath.Join(f.inbox, "failed"))
			wantFiles(t, f.inbox, "a.csv")
			must(t, os.WriteFile(path, []byte(csv), 0o644))
			f.poll(t, 2) // complete files do not wait
			f.wantGenerations(t, 1000)
			wantFiles(t, filepath.Join(f.inbox, "failed"))
		})
	}
}

// A file that remains incomplete is rejected, whatever bad rows are allowed.
// Zero bytes after compressed data are harmless.
func TestInboxRejectsFileWithGaps(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t, func(o *updater.Options) { o.Inbox, o.Build.MaxBadRows = dir, 10 })
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	now := time.Now()
	f.SetInboxClock(func() time.Time { return now })
	f.put(t, "a.csv", dataSet(t, 3)+strings.Repeat("\x00", 100))
	f.put(t, "b.csv.gz", gzipped(t, dataSet(t, 5))+strings.Repeat("\x00", 512))
	f.poll(t, 2)
	now = now.Add(30 * time.Second)
	f.poll(t, 1)
	f.wantGenerations(t, 5)
	wantFiles(t, filepath.Join(f.inbox, "failed"), "a.csv", "a.csv.errors")
	report, err := os.ReadFile(filepath.Join(f.inbox, "failed", "a.csv.errors"))
	must(t, err)
	if !strings.Contains(string(report), "ends with zero bytes") || f.Builds()["refused"] != 1 {
		t.Errorf("report %q, builds %v", report, f.Builds())
	}
}

// changedInbox returns an updater, and calls change with the path of the taken
// file a.csv when its first build starts.
func changedInbox(t *testing.T, change func(path string)) *fixture {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, ".building", "a.csv")
	f := newFixture(t, func(o *updater.Options) {
		o.Inbox = dir
		o.Logger = slog.New(&onMessage{o.Logger.Handler(), "build started", sync.OnceFunc(func() { change(path) })})
	})
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	return f
}

// A build that fails because its file changes is no failure.
func TestInboxBuildsFileAgainThatChangedInFailedBuild(t *testing.T) {
	f := changedInbox(t, func(path string) { appendTo(t, path, "half a ro") })
	f.put(t, "a.csv", dataSet(t, 10))
	f.poll(t, 2)
	f.wantGenerations(t)
	wantFiles(t, f.inbox, "a.csv")
	wantFiles(t, filepath.Join(f.inbox, "failed"))
	if builds := f.Builds(); builds["changed"] != 1 || builds["bad_rows"] != 0 {
		t.Errorf("builds by result: %v", builds)
	}
	must(t, os.WriteFile(filepath.Join(f.inbox, "a.csv"), []byte(dataSet(t, 12)), 0o644))
	f.poll(t, 2)
	f.wantGenerations(t, 12)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
}

// A changed file whose name was used again comes first, and must be complete
// before it is built again.
func TestInboxBuildsChangedFileBeforeItsSuccessor(t *testing.T) {
	var f *fixture
	f = changedInbox(t, func(path string) {
		appendTo(t, path, "half a row")
		f.put(t, "a.csv", dataSet(t, 20))
	})
	f.put(t, "a.csv", dataSet(t, 10))
	f.poll(t, 2)
	taken := filepath.Join(f.inbox, ".building", "a.csv")
	w, err := os.OpenFile(taken, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	f.poll(t, 5)
	f.wantGenerations(t)
	_, err = w.WriteString(dataSet(t, 11))
	must(t, errors.Join(err, w.Close()))
	f.poll(t, 3)
	f.wantGenerations(t, 11, 20)
	wantFiles(t, filepath.Join(f.inbox, "failed"))
}

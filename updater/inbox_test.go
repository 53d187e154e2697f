package updater_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/format/generation"
	"promostore/updater"
)

func withInbox(dir string) func(*updater.Options) {
	return func(o *updater.Options) { o.Inbox = dir }
}

// put moves a file into the inbox, as is right.
func (f *fixture) put(t *testing.T, name, text string) {
	t.Helper()
	temp := filepath.Join(f.inbox, name+".tmp")
	must(t, os.WriteFile(temp, []byte(text), 0o644))
	must(t, os.Rename(temp, filepath.Join(f.inbox, name)))
}

func (f *fixture) look(t *testing.T, times int) {
	t.Helper()
	for range times {
		must(t, f.Look())
	}
}

// still is a fixture with an inbox that is looked into by hand alone.
func still(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := newFixture(t, withInbox(dir))
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	return f
}

func TestInbox(t *testing.T) {
	f := start(t, withInbox(filepath.Join(t.TempDir(), "inbox")))
	f.put(t, "a.csv", table(t, 10))
	f.put(t, "b.csv.gz", gzipped(t, table(t, 20)))
	f.put(t, "c.csv", "bad\n")
	await(t, "all are built", func() bool { return len(f.builds(t)) == 3 })
	for i, want := range []string{"c.csv bad_rows", "b.csv.gz published", "a.csv published"} {
		if b := f.builds(t)[i]; fmt.Sprint(b["name"], " ", b["result"]) != want || b["source"] != "inbox" {
			t.Errorf("build %d: %v, want %s", i, b, want)
		}
	}
	await(t, "all are moved", func() bool {
		inbox, _ := f.get(t, "/status").object["inbox"].(map[string]any)
		return inbox["waiting"] == 0. && inbox["done"] == 2. && inbox["failed"] == 1.
	})
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv", "b.csv.gz")
	wantFiles(t, filepath.Join(f.inbox, "failed"), "c.csv", "c.csv.errors")
	wantFiles(t, f.inbox)
	f.wantGenerations(t, 10, 20)
}

// The order is that of the names.
func TestInboxOrder(t *testing.T) {
	f := still(t)
	for _, i := range []int{3, 1, 4, 2, 5} {
		f.put(t, fmt.Sprintf("%d.csv", i), table(t, int64(i)))
	}
	f.look(t, 1)
	f.wantGenerations(t) // nobody knows yet whether they grow
	f.look(t, 1)
	f.wantGenerations(t, 1, 2, 3, 4, 5)
}

// What is not whole yet is left alone.
func TestInboxGrowing(t *testing.T) {
	f := still(t)
	csv := table(t, 100)
	for _, name := range []string{".hidden.csv", "a.csv.tmp", "b.csv.part", ".c.csv.x7Yz"} {
		must(t, os.WriteFile(filepath.Join(f.inbox, name), []byte(csv), 0o644))
	}
	must(t, os.Mkdir(filepath.Join(f.inbox, "dir.csv"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(f.inbox, "link.csv")))
	must(t, syscall.Mkfifo(filepath.Join(f.inbox, "pipe.csv"), 0o600))
	f.look(t, 3)
	f.wantGenerations(t)

	path := filepath.Join(f.inbox, "a.csv")
	must(t, os.WriteFile(path, []byte(csv[:1000]), 0o644))
	f.look(t, 1)
	must(t, os.WriteFile(path, []byte(csv), 0o644)) // grows between two looks
	f.look(t, 1)
	f.wantGenerations(t)

	// Who has it open may write on, however long it has not changed.
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	f.look(t, 3)
	f.wantGenerations(t)
	must(t, w.Close())
	f.look(t, 1)
	f.wantGenerations(t, 100)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
}

// A file that fails lies beside a report that says why, and its name may come
// again.
func TestInboxFailed(t *testing.T) {
	f := still(t)
	for name, text := range map[string]string{
		"bad.csv": table(t, 3) + "bad,row\n", "cut.gz": gzipped(t, table(t, 100))[:500], "empty.csv": "",
		"many.csv": strings.Repeat(strings.Repeat("y", 5000)+"\n", 10_000),
	} {
		f.put(t, name, text)
	}
	f.look(t, 2)
	f.wantGenerations(t)
	failed := filepath.Join(f.inbox, "failed")
	wantFiles(t, failed, "bad.csv", "bad.csv.errors", "cut.gz", "cut.gz.errors", "empty.csv", "empty.csv.errors", "many.csv", "many.csv.errors")
	for name, want := range map[string]string{
		"bad.csv": "bad.csv:4:1: row: 2 fields", "cut.gz": "truncated", "empty.csv": "no promotions", "many.csv": "and 9980 more",
	} {
		report, err := os.ReadFile(filepath.Join(failed, name+".errors"))
		must(t, err)
		if !strings.Contains(string(report), want) || len(report) > 20<<10 {
			t.Errorf("%s: the report of %d bytes does not say %q: %.500s", name, len(report), want, report)
		}
	}
	f.put(t, "bad.csv", "bad\n")
	f.look(t, 2)
	if got := files(t, failed); len(got) != 10 || !strings.HasPrefix(got[1], "bad.csv.2") || got[2] != got[1]+".errors" {
		t.Errorf("failed has %q", got)
	}
}

// A name that comes again gets its generation behind it.
func TestInboxSameName(t *testing.T) {
	f := still(t)
	for rows := range int64(3) {
		f.put(t, "a.csv", table(t, rows+1))
		f.look(t, 2)
	}
	f.wantGenerations(t, 1, 2, 3)
	list, err := generation.List(f.data)
	must(t, err)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv", "a.csv."+list[1].ID.String(), "a.csv."+list[2].ID.String())
}

// Whatever a crash leaves, the next process loses no file and builds none
// twice. The states are all that there are between the renames.
func TestInboxRestart(t *testing.T) {
	const id = "20261122T103000123Z"
	for _, c := range []struct {
		name      string
		place     string // of the file, when the process was killed
		published bool   // generation id is there
		records   []int  // in the end
		done      string
	}{
		{"before it was taken", "a.csv", false, []int{3}, "a.csv"},
		{"while it was built", ".building/a.csv", false, []int{3}, "a.csv"},
		{"before its generation got its name", ".publishing/" + id + "_a.csv", false, []int{3}, "a.csv"},
		{"after its generation got its name", ".publishing/" + id + "_a.csv", true, []int{7}, "a.csv"},
		{"after it was moved", "done/a.csv", true, []int{7}, "a.csv"},
		{"a name like a generation", ".publishing/" + id + "_" + id + "_.csv", false, []int{3}, id + "_.csv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFixture(t, withInbox(dir))
			if c.published { // with other records, so that it shows who made it
				f.put(t, "x", table(t, 7))
				f.look(t, 2)
				list, err := generation.List(f.data)
				must(t, err)
				at, err := generation.ParseID(id)
				must(t, err)
				wanted := generation.Name{ID: at, Shards: 1}
				must(t, os.Rename(list[0].Files[0], filepath.Join(f.data, wanted.String())))
				must(t, os.Remove(filepath.Join(dir, "done", "x")))
			}
			must(t, f.Shutdown(t.Context()))
			must(t, os.WriteFile(filepath.Join(dir, c.place), []byte(table(t, 3)), 0o644))

			data := f.data
			f = newFixture(t, func(o *updater.Options) { o.Inbox, o.Build.Dir = dir, data })
			f.look(t, 3)
			wantFiles(t, filepath.Join(dir, "done"), c.done)
			for _, sub := range []string{"", ".building", ".publishing", "failed"} {
				wantFiles(t, filepath.Join(dir, sub))
			}
			if !c.published {
				f.wantGenerations(t, c.records...)
			} else if list, err := generation.List(data); err != nil || len(list) != 1 {
				t.Errorf("there are %v, %v", list, err)
			}
			must(t, f.Shutdown(t.Context()))
		})
	}
}

// What was taken before a restart comes first.
func TestInboxRestartOrder(t *testing.T) {
	f := still(t)
	must(t, os.WriteFile(filepath.Join(f.inbox, ".building", "z.csv"), []byte(table(t, 9)), 0o644))
	f.put(t, "a.csv", table(t, 1))
	f.look(t, 2)
	f.wantGenerations(t, 9, 1)
}

// While another process builds, files wait, and are no failure.
func TestInboxLocked(t *testing.T) {
	f := still(t)
	f.put(t, "a.csv", table(t, 5))
	w, err := generation.OpenWriter(f.data)
	must(t, err)
	f.look(t, 1)
	for range 3 {
		if err := f.Look(); !errors.Is(err, generation.ErrLocked) {
			t.Errorf("error %v, want %v", err, generation.ErrLocked)
		}
	}
	must(t, w.Close())
	f.look(t, 2)
	f.wantGenerations(t, 5)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
	wantFiles(t, filepath.Join(f.inbox, "failed"))
}

// While an upload is built, files wait.
func TestInboxBehindUpload(t *testing.T) {
	f := start(t, withInbox(t.TempDir()))
	csv := table(t, 1000)
	c := f.dial(t, fmt.Sprintf("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(csv), csv[:1000]))
	f.awaitBuilding(t, true)
	f.put(t, "a.csv", table(t, 5))
	await(t, "it waits", func() bool {
		inbox, _ := f.get(t, "/status").object["inbox"].(map[string]any)
		return inbox["waiting"] == 1.
	})
	_, err := c.Write([]byte(csv[1000:]))
	must(t, err)
	answerOn(t, c).want(t, 201, "")
	await(t, "it is built", func() bool { return len(f.builds(t)) == 2 })
	f.wantGenerations(t, 1000, 5)
}

// An inbox has one updater.
func TestInboxTaken(t *testing.T) {
	f := still(t)
	other := updater.Options{Inbox: f.inbox, Logger: nil}
	other.Build.Dir = t.TempDir()
	if _, err := updater.New(other); err == nil || !strings.Contains(err.Error(), "another updater has it") {
		t.Errorf("error %v", err)
	}
}

// A build of a file that Shutdown cuts off is made by the next process.
func TestInboxShutdown(t *testing.T) {
	dir := t.TempDir()
	f := start(t, withInbox(dir))
	f.put(t, "a.csv", table(t, 1_000_000))
	await(t, "it is built", func() bool { return f.get(t, "/status").object["building"] != nil })
	f.stop(t)
	published := len(f.generations(t))
	if published == 0 {
		wantFiles(t, filepath.Join(dir, ".building"), "a.csv")
	}
	data := f.data
	f = newFixture(t, func(o *updater.Options) { o.Inbox, o.Build.Dir = dir, data })
	f.look(t, 3)
	f.wantGenerations(t, 1_000_000)
	wantFiles(t, filepath.Join(dir, "done"), "a.csv")
	must(t, f.Shutdown(t.Context()))
}

// The directory of the generations is no inbox: it would take them for tables.
func TestInboxIsData(t *testing.T) {
	data := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(data, link))
	for _, dir := range []string{data, link} {
		opts := updater.Options{Inbox: dir, Logger: slog.New(slog.DiscardHandler)}
		opts.Build.Dir = data
		if _, err := updater.New(opts); err == nil || !strings.Contains(err.Error(), "has the generations") {
			t.Errorf("%s: error %v", dir, err)
		}
		wantFiles(t, data)
	}
}

// A file that is replaced after the look, by who may not read what the updater
// reads, is not built, and its report tells nothing of what it leads to.
func TestInboxSwapped(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("password\n"), 0o600))
	for name, swap := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(secret, path) },
		"pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := still(t)
			path := filepath.Join(f.inbox, ".building", "a.csv")
			must(t, swap(path))
			must(t, f.Build("a.csv"))
			wantFiles(t, filepath.Join(f.inbox, "failed"), "a.csv", "a.csv.errors")
			report, err := os.ReadFile(filepath.Join(f.inbox, "failed", "a.csv.errors"))
			must(t, err)
			if !strings.Contains(string(report), "not a regular file") {
				t.Errorf("the report is %q", report)
			}
			f.wantGenerations(t)
		})
	}
}

// What keeps files waiting is logged once, not at each look.
func TestInboxLockedLog(t *testing.T) {
	f := still(t)
	for range 2 {
		w, err := generation.OpenWriter(f.data)
		must(t, err)
		f.put(t, "a.csv", table(t, 5))
		for range 5 {
			f.Step()
		}
		must(t, w.Close())
		f.Step()
	}
	f.wantGenerations(t, 5, 5)
	if n := strings.Count(f.log.String(), "msg=inbox"); n != 2 {
		t.Errorf("%d lines in the log: %s", n, f.log)
	}
}

// An updater may be stopped while it is starting. What it has not begun by
// then it never does. The race detector sees it if it does.
func TestShutdownAtOnce(t *testing.T) {
	dir := t.TempDir()
	for range 50 {
		f := start(t, func(o *updater.Options) { o.Inbox, o.Hook = dir, "true" })
		f.stop(t)
	}
}

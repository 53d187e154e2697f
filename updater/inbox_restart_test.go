package updater_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/format/generation"
	"promostore/updater"
)

// After a crash in any state the next process loses no file and builds none
// twice. The cases are all states between two renames.
func TestInboxResumesAfterCrash(t *testing.T) {
	const id = "20261122T103000123Z"
	for _, c := range []struct {
		name      string
		place     string // of the file at the time of the crash
		published bool   // generation id exists
		done      string // name of the file in done
	}{
		{"waiting", "a.csv", false, "a.csv"},
		{"building", ".building/a.csv", false, "a.csv"},
		{"publishing, before the rename of the generation", ".publishing/" + id + "_a.csv", false, "a.csv"},
		{"publishing, after the rename of the generation", ".publishing/" + id + "_a.csv", true, "a.csv"},
		{"done", "done/a.csv", true, "a.csv"},
		{"file named like a generation", ".publishing/" + id + "_" + id + "_.csv", false, id + "_.csv"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			f := newFixture(t, withInbox(dir))
			if c.published {
				f.put(t, "x", dataSet(t, 7))
				f.poll(t, 2)
				list, err := generation.List(f.data)
				must(t, err)
				want, err := generation.ParseID(id)
				must(t, err)
				name := generation.Name{ID: want, Shards: 1}
				must(t, os.Rename(list[0].Files[0], filepath.Join(f.data, name.String())))
				must(t, os.Remove(filepath.Join(dir, "done", "x")))
			}
			must(t, f.Shutdown(t.Context()))
			must(t, os.WriteFile(filepath.Join(dir, c.place), []byte(dataSet(t, 3)), 0o644))

			data := f.data
			f = newFixture(t, func(o *updater.Options) { o.Inbox, o.Build.Dir = dir, data })
			f.poll(t, 3)
			wantFiles(t, filepath.Join(dir, "done"), c.done)
			for _, sub := range []string{"", ".building", ".publishing", "failed"} {
				wantFiles(t, filepath.Join(dir, sub))
			}
			list, err := generation.List(data)
			must(t, err)
			if len(list) != 1 || (list[0].ID.String() == id) != c.published {
				t.Errorf("generations %v; generation %s existed before the crash: %t", list, id, c.published)
			}
			must(t, f.Shutdown(t.Context()))
		})
	}
}

func TestInboxBuildsTakenFilesFirst(t *testing.T) {
	f := newInboxFixture(t)
	must(t, os.WriteFile(filepath.Join(f.inbox, ".building", "z.csv"), []byte(dataSet(t, 9)), 0o644))
	f.put(t, "a.csv", dataSet(t, 1))
	f.poll(t, 2)
	f.wantGenerations(t, 9, 1)
}

// The next process builds a file whose build Shutdown interrupted.
func TestInboxResumesAfterShutdown(t *testing.T) {
	dir := t.TempDir()
	f := start(t, withInbox(dir))
	f.put(t, "a.csv", dataSet(t, 1_000_000))
	f.awaitBuilding(t, true)
	f.stop(t)
	published := len(f.generations(t))
	if published == 0 {
		wantFiles(t, filepath.Join(dir, ".building"), "a.csv")
	}
	data := f.data
	f = newFixture(t, func(o *updater.Options) { o.Inbox, o.Build.Dir = dir, data })
	f.poll(t, 3)
	f.wantGenerations(t, 1_000_000)
	wantFiles(t, filepath.Join(dir, "done"), "a.csv")
	must(t, f.Shutdown(t.Context()))
}

// A file that is replaced by a link after the poll is rejected, and its report
// contains nothing of the link's target.
func TestInboxRejectsReplacedFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("password\n"), 0o600))
	for name, replace := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(secret, path) },
		"pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newInboxFixture(t)
			must(t, replace(filepath.Join(f.inbox, ".building", "a.csv")))
			must(t, f.BuildTaken("a.csv"))
			wantFiles(t, filepath.Join(f.inbox, "failed"), "a.csv", "a.csv.errors")
			report, err := os.ReadFile(filepath.Join(f.inbox, "failed", "a.csv.errors"))
			must(t, err)
			if !strings.Contains(string(report), "not a regular file") {
				t.Errorf("report %q", report)
			}
			f.wantGenerations(t)
		})
	}
}

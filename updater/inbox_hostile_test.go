package updater_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode"

	"promostore/updater"
)

// newHostileInbox returns an updater whose inbox changes when a build has
// started: after the checks of the file, before the builder reads it.
func newHostileInbox(t *testing.T, change func(inbox string)) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := newFixture(t, func(o *updater.Options) {
		o.Inbox = dir
		o.Logger = slog.New(&onMessage{o.Logger.Handler(), "build started", sync.OnceFunc(func() { change(dir) })})
	})
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	return f
}

// replace replaces a directory of the inbox by a link to target.
func replace(t *testing.T, inbox, sub, target string) {
	must(t, os.Rename(filepath.Join(inbox, sub), filepath.Join(inbox, ".old"+sub)))
	must(t, os.Symlink(target, filepath.Join(inbox, sub)))
}

func secretDir(t *testing.T, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("secret\n"), 0o600))
	}
	return dir
}

// A user who can write to the inbox cannot make the updater read another file
// by a link in place of .building: the report would quote its lines.
func TestInboxReadsNoFileThroughLink(t *testing.T) {
	secret := secretDir(t, "a.csv")
	f := newHostileInbox(t, func(inbox string) { replace(t, inbox, ".building", secret) })
	f.put(t, "a.csv", "bad\n")
	f.poll(t, 2)
	wantFiles(t, filepath.Join(f.inbox, "failed"), "a.csv", "a.csv.errors")
	report, err := os.ReadFile(filepath.Join(f.inbox, "failed", "a.csv.errors"))
	must(t, err)
	if strings.Contains(string(report), "secret") || !strings.Contains(string(report), "a.csv:1:1") {
		t.Errorf("report %q", report)
	}
	wantFiles(t, secret, "a.csv")
	// The inbox goes on with its own directory as soon as the link is removed.
	if err := f.PollInbox(); err == nil || !strings.Contains(err.Error(), ".building") {
		t.Errorf("a poll with a link: error %v", err)
	}
	must(t, os.Remove(filepath.Join(f.inbox, ".building")))
	f.put(t, "b.csv", dataSet(t, 5))
	f.poll(t, 2)
	f.wantGenerations(t, 5)
}

// Nor can he make it write through a link in place of failed or of a report.
func TestInboxWritesNoFileThroughLink(t *testing.T) {
	for name, change := range map[string]func(inbox, secret string){
		"failed": func(inbox, secret string) { replace(t, inbox, "failed", secret) },
		"report": func(inbox, secret string) {
			must(t, os.Symlink(filepath.Join(secret, "tokens"), filepath.Join(inbox, "failed", ".report.tmp")))
			must(t, os.Symlink(filepath.Join(secret, "tokens"), filepath.Join(inbox, "failed", "a.csv.errors")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			secret := secretDir(t, "tokens")
			f := newHostileInbox(t, func(inbox string) { change(inbox, secret) })
			f.put(t, "a.csv", "bad\n")
			f.poll(t, 2)
			wantFiles(t, secret, "tokens")
			text, err := os.ReadFile(filepath.Join(secret, "tokens"))
			must(t, err)
			if string(text) != "secret\n" {
				t.Errorf("the file was overwritten: %q", text)
			}
		})
	}
}

func TestNewRejectsLinksInInbox(t *testing.T) {
	for _, name := range []string{".building", ".publishing", "done", "failed", ".lock"} {
		inbox, target := t.TempDir(), secretDir(t, "file")
		if name == ".lock" {
			target = filepath.Join(target, "new")
		}
		must(t, os.Symlink(target, filepath.Join(inbox, name)))
		opts := updater.Options{Inbox: inbox, Logger: slog.New(slog.DiscardHandler)}
		opts.Build.Dir = t.TempDir()
		if _, err := updater.New(opts); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
		if _, err := os.Stat(target); (err == nil) != (name != ".lock") {
			t.Errorf("%s: target: %v", name, err)
		}
	}
}

// Directories that the operator removes are created again; even the inbox.
func TestInboxRecoversRemovedDirectories(t *testing.T) {
	f := newInboxFixture(t)
	for i, dir := range []string{".building", ".publishing", "done", "failed", ""} {
		must(t, os.RemoveAll(filepath.Join(f.inbox, dir)))
		must(t, os.MkdirAll(f.inbox, 0o755))
		f.put(t, "a.csv", dataSet(t, int64(i+1)))
		f.put(t, "b.csv", "bad\n")
		f.poll(t, 2)
	}
	f.wantGenerations(t, 1, 2, 3, 4, 5)
	wantFiles(t, filepath.Join(f.inbox, "done"), "a.csv")
	wantFiles(t, filepath.Join(f.inbox, "failed"), "b.csv", "b.csv.errors")
}

// A rejected file and the report of another one never replace each other.
func TestInboxKeepsFileNamedLikeReport(t *testing.T) {
	for _, order := range [][]string{{"a.csv", "a.csv.errors"}, {"a.csv.errors", "a.csv"}} {
		f := newInboxFixture(t)
		for _, name := range order {
			f.put(t, name, "bad "+name+"\n")
			f.poll(t, 2)
		}
		contents := map[string]int{}
		for _, name := range files(t, filepath.Join(f.inbox, "failed")) {
			text, err := os.ReadFile(filepath.Join(f.inbox, "failed", name))
			must(t, err)
			contents[string(text)]++
		}
		if len(contents) != 4 || contents["bad a.csv\n"] != 1 || contents["bad a.csv.errors\n"] != 1 {
			t.Errorf("%q: files in failed: %v", order, contents)
		}
		if _, n, _, _ := f.InboxCounts(); n != 2 {
			t.Errorf("%q: %d failed files, want 2", order, n)
		}
	}
}

// The name of a file reaches no report, log or answer with characters that
// control a terminal or forge a line.
func TestInboxEscapesNames(t *testing.T) {
	f := start(t, withInbox(t.TempDir()))
	name := "a\x1b[2J\n  b.csv:1:1: forged\u009b\u202e\xff.csv"
	f.put(t, name, "bad\n")
	await(t, "the build", func() bool { return len(f.builds(t)) == 1 })
	b := f.builds(t)[0]
	await(t, "the report", func() bool { return len(files(t, filepath.Join(f.inbox, "failed"))) == 2 })
	report, err := os.ReadFile(filepath.Join(f.inbox, "failed", name+".errors"))
	must(t, err)
	f.stop(t)
	for what, text := range map[string]string{
		"report": strings.ReplaceAll(string(report), "\n", ""), "name": b["name"].(string), "error": b["error"].(string),
		"log": strings.ReplaceAll(f.log.String(), "\n", ""),
	} {
		for i, r := range text {
			if !unicode.IsPrint(r) || strings.HasPrefix(text[i:], "\ufffd") {
				t.Errorf("%s has %q: %q", what, r, text)
				break
			}
		}
	}
	if n := strings.Count(string(report), "\n"); n != 2 {
		t.Errorf("report of %d lines, want 2: %q", n, report)
	}
}

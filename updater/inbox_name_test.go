package updater_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/updater"
)

var dataSetNames = []string{
	"promotions.csv", "PROMO.CSV", "a.csv.gz", "a.CSV.ZST", "a.tsv", "a.txt", "a", "2026-11-27", "a.csv.20261127", "a.20261127", "a.csv.1",
	"part-00000-5a2c.c000.csv.gz", "a.part1.csv", "part.csv", "tmp.csv", "temperature.csv", "template.csv", "done.csv", "ok.csv", "ready.csv",
	"manifesto.csv", "a.csv~b.csv", "a_b.csv", "a#b.csv", "a.md5.csv", "März.csv", "a b.csv", "a.csv.errors", "a.csv.20261127T101112.000Z",
	"a.facade.csv", "a.deadbee", "a.csv.0123456789abcdef", "signs.csv", "oldest.csv", "a.(1).csv",
}

var ignoredNames = []string{
	// Transfers: WinSCP, rclone, browsers, wget, aria2, gsutil, HDFS, aws s3, rsync, Syncthing.
	"a.csv.filepart", "a.csv.a1b2c3d4.partial", "a.crdownload", "a.csv.CRDOWNLOAD", "a.csv.download", "a.csv.opdownload", "a.csv.part",
	"a.csv.aria2", "a.csv_.gstmp", "a.csv._COPYING_", "a.csv.6Cb1F3Dd", ".a.csv.Xy12Za", "~syncthing~a.csv.tmp", "a.csv.!ut",
	// Programs that rename.
	"a.csv.tmp", "a.TMP", "a.csv.tmp.4711", "a.tmp.csv", "a.csv.temp", "a.temp.gz", "a.csv.incomplete", "a.csv.inprogress", "a.csv.uploading", "a.csv.writing",
	// Editors and desktops.
	".hidden.csv", ".a.csv.swp", "a.swp", "a.swx", "a.csv~", "#a.csv#", "~$a.csv", "~a.csv", "a.csv.~1~", "a.csv.bak", "a.csv.BAK", "a.csv.old",
	"a.csv.orig", "a.csv.save", "a.lock", "a.lck", "Thumbs.db", "desktop.ini", "Desktop.ini", ".DS_Store", ".nfs000000000012", "README", "readme.TXT",
	// Markers.
	"_SUCCESS", "_started_123", "_metadata", "a.done", "a.csv.DONE", "a.ok", "a.ready", "a.complete", "a.trg", "a.flag", "a.sem", "DONE", "success",
	// Checksums, signatures and descriptions.
	"a.csv.md5", "a.csv.MD5", "a.sha1", "a.sha256", "a.csv.sha512", "a.sha256sum", "SHA256SUMS", "a.crc", ".a.csv.crc", "a.sfv", "a.b2", "a.xxh64",
	"a.csv.asc", "a.csv.sig", "manifest.json", "MANIFEST.JSON", "manifest", "unload_manifest", "a.manifest", "5a2c-manifest.csv", "a.csv.metadata",
}

func TestIsDataSetName(t *testing.T) {
	for _, name := range dataSetNames {
		if !updater.IsDataSetName(name) {
			t.Errorf("%s is ignored", name)
		}
	}
	for _, name := range append(ignoredNames, "", ".", "_", "~") {
		if updater.IsDataSetName(name) {
			t.Errorf("%s is a data set", name)
		}
	}
}

// docs/operations.md lists every name that is ignored.
func TestIgnoredNamesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	must(t, err)
	doc := strings.ToLower(string(text))
	for ext := range updater.IgnoredExtensions {
		base, isSum := strings.CutSuffix(ext, "sum")
		if !strings.Contains(doc, "`."+ext+"`") && !(isSum && strings.Contains(doc, "`."+base+"`")) {
			t.Errorf("docs/operations.md lacks .%s", ext)
		}
	}
	for name := range updater.IgnoredNames {
		if !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/operations.md lacks %s", name)
		}
	}
}

// Leftovers of transfers and markers stay where they are and count as nothing.
func TestInboxLeavesIgnoredNamesAlone(t *testing.T) {
	f := newInboxFixture(t)
	for _, name := range ignoredNames {
		must(t, os.WriteFile(filepath.Join(f.inbox, name), []byte(dataSet(t, 1)), 0o644))
	}
	f.poll(t, 3)
	f.wantGenerations(t)
	wantFiles(t, f.inbox, slices.Clone(ignoredNames)...)
	f.wantNoCounts(t)
	hidden := 0
	for _, name := range ignoredNames {
		if strings.HasPrefix(name, ".") {
			hidden++
		}
	}
	if want := len(ignoredNames) - hidden; f.Ignored() != want {
		t.Errorf("%d ignored files, want %d", f.Ignored(), want)
	}
}

func (f *fixture) wantNoCounts(t *testing.T) {
	t.Helper()
	if waiting, failed, stuck, errors := f.InboxCounts(); waiting != 0 || failed != 0 || stuck != 0 || errors != 0 || len(f.Builds()) != 0 {
		t.Errorf("%d waiting, %d failed, %d stuck, %d errors, builds %v", waiting, failed, stuck, errors, f.Builds())
	}
}

func TestInboxMatch(t *testing.T) {
	f := newFixture(t, func(o *updater.Options) { o.Inbox, o.InboxMatch = t.TempDir(), "promo-*.csv*" })
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	ignored := []string{"Promo-1.csv", "other.csv", "promo-4.csv.tmp"}
	for _, name := range ignored {
		must(t, os.WriteFile(filepath.Join(f.inbox, name), []byte(dataSet(t, 9)), 0o644))
	}
	f.put(t, "promo-1.csv", dataSet(t, 1))
	f.put(t, "promo-2.csv.gz", gzipped(t, dataSet(t, 2)))
	f.poll(t, 2)
	f.wantGenerations(t, 1, 2)
	wantFiles(t, f.inbox, ignored...)
	if f.Ignored() != 3 {
		t.Errorf("%d ignored files, want 3", f.Ignored())
	}
}

func TestNewRejectsInboxMatch(t *testing.T) {
	for _, pattern := range []string{"[", "a[b", `a\`, "in/*.csv"} {
		opts := updater.Options{Inbox: t.TempDir(), InboxMatch: pattern}
		opts.Build.Dir = t.TempDir()
		if _, err := updater.New(opts); err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("%q: error %v", pattern, err)
		}
	}
}

// A file name may have 255 bytes, and the states of a file need some of them.
func TestInboxShortensLongNames(t *testing.T) {
	f := newFixture(t, func(o *updater.Options) { o.Inbox, o.InboxMatch = t.TempDir(), "ä*.csv" })
	t.Cleanup(func() { must(t, f.Shutdown(t.Context())) })
	for i, long := range []string{strings.Repeat("ä", 125) + ".csv", strings.Repeat("ä", 124) + "b.csv"} {
		path := filepath.Join(f.inbox, long)
		must(t, os.WriteFile(path, []byte(dataSet(t, int64(i+1))), 0o644))
		f.poll(t, 2)
		must(t, os.WriteFile(path, []byte("bad\n"), 0o644))
		f.poll(t, 2)
	}
	f.wantGenerations(t, 1, 2)
	wantFiles(t, f.inbox)
	for sub, n := range map[string]int{"done": 2, "failed": 4} {
		names := files(t, filepath.Join(f.inbox, sub))
		if len(names) != n {
			t.Errorf("%s: %q, want %d files", sub, names, n)
		}
		for _, name := range names {
			if !strings.HasPrefix(name, strings.Repeat("ä", 60)) || !strings.Contains(name, ".csv") {
				t.Errorf("%s/%s", sub, name)
			}
		}
	}
	if n := strings.Count(f.log.String(), "name of inbox file shortened"); n != 4 {
		t.Errorf("%d warnings, want 4", n)
	}
}

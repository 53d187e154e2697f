//go:build campaign

package deploy

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/campaign"
)

// TestCampaignFullDisk fills the disk of the generations to a random degree
// before builds, uploads and files of the inbox. Without space nothing may be
// published, and with space again everything must continue by itself.
func TestCampaignFullDisk(t *testing.T) {
	const rows = 100_000 // a generation takes 3.2 MB
	random := campaign.Random(t)
	disk := filepath.Join(t.TempDir(), "disk")
	err := errors.Join(os.Mkdir(disk, 0o755), syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=24m"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	d := &fullDisk{data: filepath.Join(disk, "data"), ballast: filepath.Join(disk, "ballast"), inbox: filepath.Join(t.TempDir(), "inbox"), random: random}
	build(t, d.data, 0, rows)
	d.updater = startOpenUpdater(t, d.data, "--inbox", d.inbox, "--keep", "2")
	waitFor(t, "the inbox exists", func() bool { _, err := os.Stat(d.inbox); return err == nil })
	csv := writeCSV(t, 1, rows)
	text, err := os.ReadFile(csv)
	if err != nil {
		t.Fatal(err)
	}
	full := map[string]int{}
	amount := campaign.Amount(t, 50)
	for round := 0; full["build"]+full["upload"]+full["inbox"] < amount; round++ {
		kind := []string{"build", "upload", "inbox"}[round%3]
		before := d.newest(t)
		failed := false
		wait := d.fill(t)
		switch kind {
		case "build":
			out, err := exec.Command(program(t, "promobuild"), "build", "--quiet", "--memory", "64MiB", "--data", d.data, csv).CombinedOutput()
			if failed = err != nil; failed && !strings.Contains(string(out), syscall.ENOSPC.Error()) {
				t.Errorf("build: %v: %s", err, out)
			}
			wait()
			d.check(t, before, failed)
			d.empty(t)
			if failed {
				run(t, program(t, "promobuild"), "build", "--quiet", "--memory", "64MiB", "--data", d.data, csv)
			}
			run(t, program(t, "promobuild"), "prune", "--data", d.data, "--keep", "2")
		case "upload":
			a := askUpdater(t, http.MethodPost, d.updater.url+"/upload", string(text))
			if failed = a.status != http.StatusCreated; failed && a.status != http.StatusInsufficientStorage {
				t.Errorf("upload: %d %s", a.status, a.text)
			}
			wait()
			d.check(t, before, failed)
			d.empty(t)
			if a := askUpdater(t, http.MethodPost, d.updater.url+"/upload", string(text)); a.status != http.StatusCreated {
				t.Errorf("upload with space: %d %s", a.status, a.text)
			}
		case "inbox":
			name := filepath.Join(d.inbox, "promotions.csv")
			if err := errors.Join(os.WriteFile(name+".part", text, 0o644), os.Rename(name+".part", name)); err != nil {
				t.Fatal(err)
			}
			attempts := metrics(t, d.updater)[`promobuild_builds_total{result="no_space"}`]
			waitFor(t, "the inbox file is built or waits", func() bool {
				failed = metrics(t, d.updater)[`promobuild_builds_total{result="no_space"}`] > attempts
				return failed || d.newest(t) != before
			})
			wait()
			d.check(t, before, failed)
			d.empty(t)
			waitFor(t, "the inbox file is built", func() bool {
				_, err := os.Stat(filepath.Join(d.inbox, "done", "promotions.csv"))
				return err == nil && d.newest(t) != before
			})
			if err := os.RemoveAll(filepath.Join(d.inbox, "done", "promotions.csv")); err != nil {
				t.Fatal(err)
			}
		}
		if failed {
			full[kind]++
		}
		d.check(t, before, false)
		if t.Failed() {
			t.Fatalf("round %d, %s", round, kind)
		}
	}
	t.Logf("full disks: %v; nothing half published, all built afterwards", full)
	wantNoPanic(t, d.updater)
}

// A fullDisk is a small file system with generations and an updater of them.
type fullDisk struct {
	data, ballast, inbox string
	random               *rand.Rand
	updater              *server
}

// fill leaves less than the length of a generation and a half, at once or soon.
// wait returns after that.
func (d *fullDisk) fill(t *testing.T) (wait func()) {
	t.Helper()
	delay := time.Duration(d.random.IntN(2)*d.random.IntN(200)) * time.Millisecond
	left := d.random.IntN(4 << 20)
	var filled sync.WaitGroup
	filled.Go(func() {
		time.Sleep(delay)
		var free syscall.Statfs_t
		if err := syscall.Statfs(d.data, &free); err != nil {
			t.Error(err)
		}
		n := int(free.Bavail)*int(free.Bsize) - left
		if err := os.WriteFile(d.ballast, make([]byte, max(n, 0)), 0o644); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	})
	if delay == 0 {
		filled.Wait()
	}
	return filled.Wait
}

func (d *fullDisk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		t.Fatal(err)
	}
}

func (d *fullDisk) newest(t *testing.T) generation.ID {
	t.Helper()
	list, err := generation.List(d.data)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s has %v, %v", d.data, list, err)
	}
	return list[len(list)-1].ID
}

// check checks that every file of the directory is a complete generation, and
// that a failed build has published none.
func (d *fullDisk) check(t *testing.T, before generation.ID, failed bool) {
	t.Helper()
	if after := d.newest(t); failed != (after == before) {
		t.Errorf("failed %t: newest generation %s before, %s after", failed, before, after)
	}
	run(t, program(t, "promobuild"), "verify", d.data)
	entries, err := os.ReadDir(d.data)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" && !strings.HasSuffix(e.Name(), ".pgen") && !strings.HasSuffix(e.Name(), ".summary.json") {
			t.Errorf("the directory has %s", e.Name())
		}
	}
}

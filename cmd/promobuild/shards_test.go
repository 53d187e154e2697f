package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
)

// A build that is killed at any moment leaves all shards of its generation or none,
// in a list of the directory at once and after the next build.
func TestKilledBuildLeavesAllShardsOrNone(t *testing.T) {
	const shards = 256
	data := filepath.Join(t.TempDir(), "data")
	build := func(args ...string) *exec.Cmd {
		return exec.Command("promobuild", append([]string{"build", "--quiet", "--data", data, "--memory", "64MiB", "../../testdata/promotions.csv"}, args...)...)
	}
	if out, err := build().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	killed, between := 0, 0
	for round := 0; round < 16 || between == 0 && round < 50; round++ {
		before := files(t, data)
		// Even rounds wait for renamed files, odd ones for temporary files.
		prefix, goal := "promotions-", 1+rng.IntN(shards)
		if round%2 == 1 {
			prefix = "."
		}
		cmd := build("--shards", "256")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		for done := false; !done && added(t, data, before, prefix) < goal; {
			select {
			case err := <-exited:
				exited <- err
				done = true
			case <-time.After(time.Microsecond):
			}
		}
		_ = cmd.Process.Kill() // it may have ended
		if err := <-exited; err != nil {
			killed++
		}
		if checkComplete(t, data) < added(t, data, nil, "promotions-") {
			between++
		}
	}
	if out, err := build("--shards", "16").CombinedOutput(); err != nil {
		t.Fatalf("the next build: %v: %s", err, out)
	}
	if names, want := files(t, data), checkComplete(t, data); len(names) != want {
		t.Errorf("after the next build, the directory has %d files, want %d: %v", len(names), want, names)
	}
	t.Logf("%d builds killed, %d of them between two renames", killed, between)
	if killed == 0 {
		t.Error("all builds ended before they were killed")
	}
}

// checkComplete checks that all visible generations are complete and readable. It
// returns the number of their files.
func checkComplete(t *testing.T, dir string) (numFiles int) {
	t.Helper()
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list {
		if h, err := g.Header(); err != nil || h.Records != 39 {
			t.Errorf("generation %s: %d files, %d records, %v", g.ID, len(g.Files), h.Records, err)
		}
		numFiles += len(g.Files)
	}
	return numFiles
}

// added returns the number of files of dir whose names begin with prefix and are
// not in before.
func added(t *testing.T, dir string, before []string, prefix string) (n int) {
	t.Helper()
	for _, name := range files(t, dir) {
		if strings.HasPrefix(name, prefix) && !slices.Contains(before, name) {
			n++
		}
	}
	return n
}

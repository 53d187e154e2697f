//go:build system

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"promostore/cmd/internal/program"
	"promostore/internal/synth"
)

// smallDisk mounts a file system of the given size and returns its directory. It
// needs root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount %s: %v", dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// A full disk fails the build, whether it holds the generations or the spill. Older
// generations remain, and no other file does.
func TestFullDiskFailsBuild(t *testing.T) {
	rows := filepath.Join(t.TempDir(), "rows.csv")
	f, err := os.Create(rows)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Rows: 3_000_000}).WriteTo(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, data, tmp, memory string }{
		{"generation, in memory", smallDisk(t, "16m"), t.TempDir(), "1GiB"},
		{"generation, spilled", smallDisk(t, "16m"), t.TempDir(), "64MiB"},
		{"spill", t.TempDir(), smallDisk(t, "16m"), "64MiB"},
		{"both on one", smallDisk(t, "96m"), "", "64MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			build := func(memory, input string) (string, error) {
				out, err := exec.Command("promobuild", "build", "--quiet", "--data", c.data, "--tmp", c.tmp, "--memory", memory, input).CombinedOutput()
				return string(out), err
			}
			if out, err := build("64MiB", "../../testdata/promotions.csv"); err != nil {
				t.Fatalf("the first build: %v: %s", err, out)
			}
			before := files(t, c.data)
			out, err := build(c.memory, rows)
			if exitCode(err) != program.ExitFailed || !strings.Contains(out, syscall.ENOSPC.Error()) || !strings.Contains(out, "Free space") {
				t.Errorf("a full disk: %v: %s", err, out)
			}
			if after := files(t, c.data); len(after) != 1 || after[0] != before[0] {
				t.Errorf("data directory before: %v, after: %v", before, after)
			}
			if c.tmp != "" {
				if left := files(t, c.tmp); len(left) > 0 {
					t.Errorf("the temporary directory has %v", left)
				}
			}
			if out, err := exec.Command("promobuild", "verify", c.data).CombinedOutput(); err != nil {
				t.Errorf("verify of the first generation: %v: %s", err, out)
			}
		})
	}
}

// If the disk of the rejects is full, the hint names --rejects.
func TestFullDiskOfRejectsFailsBuild(t *testing.T) {
	for _, c := range []struct{ rejects, hint string }{
		{"/dev/full", "another disk: --rejects FILE"},
		{filepath.Join(smallDisk(t, "64k"), "rejects.csv"), "another disk: --rejects FILE"},
	} {
		data := t.TempDir()
		cmd := exec.Command("promobuild", "build", "--data", data, "--max-bad-rows", "100000", "--rejects", c.rejects, "-")
		cmd.Stdin = strings.NewReader(strings.Repeat("bad\n", 20_000))
		out, err := cmd.CombinedOutput()
		if exitCode(err) != program.ExitFailed || !strings.Contains(string(out), c.hint) || strings.Contains(string(out), "--tmp") {
			t.Errorf("%s: %v: %s", c.rejects, err, out)
		}
		if left := files(t, data); len(left) > 0 {
			t.Errorf("%s: files %v", c.rejects, left)
		}
	}
}

// A full device as standard output fails every command that prints.
func TestFullOutputIsReported(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	data := t.TempDir()
	if out, err := exec.Command("promobuild", "build", "--quiet", "--data", data, "../../testdata/promotions.csv").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	for _, args := range []string{
		"dump " + data, "get " + data + " 172FFC14-D229-4C93-B06B-F48B8C095512", "list " + data, "list --json " + data,
		"inspect " + data, "inspect --json " + data, "verify " + data, "generate --rows 10", "completion bash",
	} {
		var stderr strings.Builder
		cmd := exec.Command("promobuild", strings.Fields(args)...)
		cmd.Stdout, cmd.Stderr = full, &stderr
		if err := cmd.Run(); exitCode(err) != program.ExitFailed || !strings.Contains(stderr.String(), syscall.ENOSPC.Error()) {
			t.Errorf("%s: %v: %s", args, err, &stderr)
		}
	}
}

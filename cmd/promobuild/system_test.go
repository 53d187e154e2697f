//go:build system

package main

import (
	"errors"
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

// cgroup returns a new cgroup with a memory limit of that many bytes. It needs root.
func cgroup(t *testing.T, limit string) string {
	t.Helper()
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err == nil { // version 1
		root, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	}
	dir, err := os.MkdirTemp(root, "promobuild")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(limit), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A memory budget beyond the cgroup is announced before the kernel ends the build.
func TestMemoryBeyondCgroupWarns(t *testing.T) {
	dir := cgroup(t, "536870912")
	for memory, want := range map[string]string{
		"1GiB":   "warning: --memory 1.0 GiB is more than the 512 MiB of this machine or its cgroup",
		"256MiB": "",
	} {
		cmd := exec.Command("sh", "-c", `echo $$ >"$1/cgroup.procs" && exec promobuild build --quiet --memory "$2" --data "$3" ../../testdata/promotions.csv`,
			"sh", dir, memory, t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want) || (want == "") != (len(out) == 0) {
			t.Errorf("--memory %s: %v: %s, want %q", memory, err, out, want)
		}
	}
}

// A directory for the spill that an ordinary user may not write to fails before the
// input is read.
func TestTempDirOfOtherUserFails(t *testing.T) {
	path, err := exec.LookPath("promobuild")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "promobuild") // other users may enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	copied := filepath.Join(dir, "promobuild")
	if out, err := exec.Command("cp", path, copied).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, spill := filepath.Join(dir, "data"), filepath.Join(dir, "spill")
	for path, mode := range map[string]os.FileMode{data: 0o777, spill: 0o755} {
		if err := errors.Join(os.Mkdir(path, mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(copied, "build", "--data", data, "--tmp", spill, "-")
	cmd.Stdin = strings.NewReader("")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if want := "promobuild: build: --tmp " + spill + ": permission denied\n"; exitCode(err) != program.ExitFailed || string(out) != want {
		t.Errorf("exits with %d: %s, want %s", exitCode(err), out, want)
	}
}

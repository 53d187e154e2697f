//go:build system

package main

import (
	"os"
	"os/exec"
	"os/user"
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

// A directory or file that an ordinary user may not use fails the command, and the
// error names the flag, the place and the user.
func TestFileOfOtherUserIsNamedWithFlag(t *testing.T) {
	path, err := exec.LookPath("promobuild")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "promobuild") // other users may enter it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	other, err := user.LookupId("65534")
	if err != nil {
		t.Fatal(err)
	}
	setUp := exec.Command("sh", "-c", `chmod 755 . && cp "$1" promobuild &&
		mkdir -m 777 open && mkdir -m 755 read && mkdir -m 700 closed &&
		printf 'aaaaaaaa-0000-4000-8000-000000000000,1.5,2018-06-04 06:01:20\n' >one.csv && (umask 77 && cp one.csv private.csv) &&
		"$1" build --quiet --data read one.csv && "$1" build --quiet --data read one.csv && chmod 666 read/.lock &&
		cp -r read locked && chmod 777 locked && chmod 644 locked/.lock`, "sh", path)
	setUp.Dir = dir
	if out, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, c := range []struct{ args, want string }{
		{"build --tmp read --data open -", "--tmp read: not writable"},
		{"build --rejects read/x --data open -", "--rejects read/x: not writable"},
		{"build --data read -", "--data read: not writable"},
		{"build --data read/new/one -", "--data read/new/one: read is not writable"},
		{"build --data closed/new -", "--data closed/new: closed is not readable"},
		{"build --data locked -", "--data locked: locked/.lock is not writable"},
		{"build --quiet --data open private.csv", "private.csv: not readable"},
		{"prune --data locked", "--data locked: locked/.lock is not writable"},
		{"rollback --data read", "--data read: not writable"},
		{"unpin --data read", "--data read: not writable"},
		{"list closed", "closed: not readable"},
		{"list --data closed", "--data closed: not readable"},
		{"inspect closed/new", "closed/new: closed is not readable"},
		{"updater --data read/new --listen 127.0.0.1:0", "--data read/new: read is not writable"},
		{"updater --data open --inbox read/in --listen 127.0.0.1:0", "--inbox read/in: read is not writable"},
	} {
		command, _, _ := strings.Cut(c.args, " ")
		cmd := exec.Command("./promobuild", strings.Fields(c.args)...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		want := "promobuild: " + command + ": " + c.want + " for user " + other.Username + ": permission denied\n"
		if exitCode(err) != program.ExitFailed || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s exits with %d: %s, want %s", c.args, exitCode(err), out, want)
		}
	}
}

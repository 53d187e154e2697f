package machine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mount mounts a file system for as long as the test runs, which needs root.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		t.Fatalf("mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func overlay(t *testing.T, on string) string {
	t.Helper()
	var options []string
	for _, name := range []string{"lowerdir", "upperdir", "workdir"} {
		dir := filepath.Join(on, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		options = append(options, name+"="+dir)
	}
	return mount(t, "overlay", strings.Join(options, ","))
}

func TestOnDisk(t *testing.T) {
	disk, tmpfs := t.TempDir(), mount(t, "tmpfs", "")
	for _, test := range []struct{ dir, want string }{
		{disk, ""},
		{overlay(t, disk), ""},
		{tmpfs, "is on tmpfs"},
		{mount(t, "ramfs", ""), "is on ramfs"},
		{overlay(t, tmpfs), "is on an overlay on tmpfs"},
		{disk + "/nothing", "no such file"},
	} {
		err := OnDisk(test.dir)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.dir, err, test.want)
		}
	}
}

func TestFree(t *testing.T) {
	free, err := Free(mount(t, "tmpfs", "size=1m"))
	if free != 1<<20 || err != nil {
		t.Error(free, err)
	}
	if _, err := Free(t.TempDir() + "/nothing"); err == nil {
		t.Error("there is room in a directory that is not there")
	}
}

// A change below bench/results alone makes no commit dirty: measuring does it.
func TestCommit(t *testing.T) {
	t.Chdir(t.TempDir())
	git := func(args ...string) {
		t.Helper()
		c := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := commit(t.Context()); got != "unknown" {
		t.Errorf("without a checkout: %q", got)
	}
	write("code", "1")
	write("bench/results/page", "1")
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "area: what")
	git("tag", "v1")
	t.Chdir("bench")
	for _, step := range []struct{ path, want string }{
		{"results/page", "v1"},
		{"results/untracked", "v1"},
		{"../code", "v1-dirty"},
	} {
		write(step.path, "2")
		if got := commit(t.Context()); got != step.want {
			t.Errorf("after a change of %s: %q, want %q", step.path, got, step.want)
		}
	}
}

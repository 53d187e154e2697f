package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/internal/progtest"
)

// makeTarget runs a target of the Makefile with a umask that hides files from other
// users.
func makeTarget(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `umask 077; exec make -C .. "$@"`, "make"}, args...)...)
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKEOVERRIDES=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %q: %v\n%s", args, err, out)
	}
}

// modes returns the files below dir with their modes.
func modes(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		name, _ := filepath.Rel(dir, path)
		list = append(list, fmt.Sprintf("%v %s", info.Mode(), name))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestInstall checks the files of "make install", and that "make uninstall" removes
// them and nothing else.
func TestInstall(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a root, it's here")
	args := []string{"BIN=" + filepath.Dir(program(t, "promobuild")), "DESTDIR=" + root, "PREFIX=/opt/promo"}
	other := filepath.Join(root, "opt/promo/bin/other")
	if err := errors.Join(os.MkdirAll(filepath.Dir(other), 0o755), os.WriteFile(other, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	makeTarget(t, append(args, "install")...)
	makeTarget(t, append(args, "install")...) // over the same files
	want := []string{
		"-rw------- opt/promo/bin/other",
		"-rwxr-xr-x opt/promo/bin/promo-pull",
		"-rwxr-xr-x opt/promo/bin/promobuild",
		"-rwxr-xr-x opt/promo/bin/promoserve",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-build.service",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-build.timer",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-pull-s3.service",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-pull-s3.timer",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-pull.service",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-pull.timer",
		"-rw-r--r-- opt/promo/lib/systemd/system/promo-updater.service",
		"-rw-r--r-- opt/promo/lib/systemd/system/promoserve.service",
		"-rw-r--r-- opt/promo/share/bash-completion/completions/promobuild",
		"-rw-r--r-- opt/promo/share/bash-completion/completions/promoserve",
		"-rw-r--r-- opt/promo/share/fish/vendor_completions.d/promobuild.fish",
		"-rw-r--r-- opt/promo/share/fish/vendor_completions.d/promoserve.fish",
		"-rw-r--r-- opt/promo/share/man/man1/promo-pull.1.gz",
		"-rw-r--r-- opt/promo/share/man/man1/promobuild-updater.1.gz",
		"-rw-r--r-- opt/promo/share/man/man1/promobuild.1.gz",
		"-rw-r--r-- opt/promo/share/man/man1/promoserve.1.gz",
		"-rw-r--r-- opt/promo/share/zsh/site-functions/_promobuild",
		"-rw-r--r-- opt/promo/share/zsh/site-functions/_promoserve",
	}
	if got := modes(t, root); !slices.Equal(got, want) {
		t.Errorf("installed:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	dir := filepath.Join(root, "opt/promo")
	if info, err := os.Stat(filepath.Join(dir, "share/man")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a directory has the mode %v, %v", info.Mode(), err)
	}
	for _, unit := range want {
		if _, name, ok := strings.Cut(unit, "/promo/lib/systemd/system/"); ok && strings.HasSuffix(name, ".service") {
			text := readFile(t, filepath.Join(dir, "lib/systemd/system", name))
			isScript := name == "promo-build.service" // of the operator
			if !strings.Contains(text, "\nExecStart=/opt/promo/bin/") && !isScript || strings.Contains(text, "/usr/local") {
				t.Errorf("%s does not start a program of the prefix:\n%s", name, text)
			}
		}
	}
	for _, name := range []string{"promobuild", "promoserve"} {
		if got := run(t, filepath.Join(dir, "bin", name), "--version"); !strings.HasPrefix(got, name+" version") {
			t.Errorf("%s prints %q", name, got)
		}
		for shell, path := range map[string]string{
			"bash": "share/bash-completion/completions/" + name,
			"zsh":  "share/zsh/site-functions/_" + name,
			"fish": "share/fish/vendor_completions.d/" + name + ".fish",
		} {
			if readFile(t, filepath.Join(dir, path)) != run(t, program(t, name), "completion", shell) {
				t.Errorf("%s is not the completion of %s for %s", path, name, shell)
			}
		}
	}
	page, err := exec.Command("gzip", "-dc", filepath.Join(dir, "share/man/man1/promoserve.1.gz")).Output()
	_, version, _ := strings.Cut(strings.TrimSpace(run(t, program(t, "promoserve"), "--version")), "version ")
	if err != nil || !strings.Contains(string(page), `"promostore `+version+`"`) || strings.Contains(string(page), "@") {
		t.Errorf("the manual page does not have the version %s and a date: %v\n%.300s", version, err, page)
	}
	makeTarget(t, append(args, "uninstall")...)
	if got := modes(t, root); !slices.Equal(got, want[:1]) {
		t.Errorf("after uninstall there are %q, want %q", got, want[:1])
	}
}

// TestInstallWithOddPrefix checks that "make install" and "make uninstall" accept
// characters that mean something to the shell, sed or systemd, and that the units name
// the programs in the syntax of systemd.
func TestInstallWithOddPrefix(t *testing.T) {
	const prefix = `/opt/Ann's & co|100% \1`
	root := t.TempDir()
	args := []string{"BIN=" + filepath.Dir(program(t, "promobuild")), "DESTDIR=" + root, "PREFIX=" + prefix}
	makeTarget(t, append(args, "install")...)
	unit := readFile(t, filepath.Join(root, prefix, "lib/systemd/system/promoserve.service"))
	if want := "\nExecStart=/opt/Ann's\\x20&\\x20co|100%%\\x20\\x5c1/bin/promoserve --data "; !strings.Contains(unit, want) {
		t.Errorf("the unit lacks %q:\n%s", want, unit)
	}
	makeTarget(t, append(args, "uninstall")...)
	if got := modes(t, root); len(got) > 0 {
		t.Errorf("after uninstall there are %q", got)
	}
}

// TestPackagesRefuseVersions checks that "make packages" refuses a version that the
// packages cannot have, and removes nothing.
func TestPackagesRefuseVersions(t *testing.T) {
	for _, version := range []string{"", "v1.2 3", "it's", `$HOME`, "1/2"} {
		dist := t.TempDir()
		kept := filepath.Join(dist, "kept")
		if err := os.WriteFile(kept, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("packages/build.sh")
		cmd.Env = append(os.Environ(), "DIST="+dist, "VERSION="+version, "SOURCE_DATE_EPOCH=0")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "VERSION: ") {
			t.Errorf("version %q: %v: %s", version, err, out)
		}
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
}

// TestPackagesStopUnits checks that the removal of a package stops each of its units.
func TestPackagesStopUnits(t *testing.T) {
	stopped := strings.Fields(strings.ReplaceAll(readFile(t, "packages/preremove.sh"), ";", " "))
	units, err := filepath.Glob("systemd/*")
	if err != nil || len(units) == 0 {
		t.Fatalf("no units: %v", err)
	}
	for _, unit := range units {
		if name := filepath.Base(unit); !slices.Contains(stopped, name) {
			t.Errorf("preremove.sh does not stop %s", name)
		}
	}
}

// TestConfigurationOfPackages checks that the programs know the variables in the
// configuration files, and that these change nothing.
func TestConfigurationOfPackages(t *testing.T) {
	p := progtest.Observe(t)
	commands := map[string]string{
		"promoserve.env": "promoserve", "digits.env": "promoserve", "promo-updater.env": "promobuild updater",
		"promo-pull.env": "", "promo-pull-s3.env": "promobuild pull",
	}
	entries, err := os.ReadDir("packages/etc")
	if err != nil || len(entries) != len(commands) {
		t.Fatalf("%d files, %v, want %d", len(entries), err, len(commands))
	}
	for _, e := range entries {
		command, ok := commands[e.Name()]
		if !ok {
			t.Errorf("unknown file %s", e.Name())
		}
		services := ""
		for _, unit := range []string{"promoserve", "promo-updater", "promo-pull", "promo-pull-s3"} {
			if text := readFile(t, "systemd/"+unit+".service"); strings.Contains(text, "EnvironmentFile=-/etc/promostore/"+e.Name()+"\n") {
				services += text
			}
		}
		if services == "" {
			t.Errorf("no unit reads %s", e.Name())
		}
		for line := range strings.Lines(readFile(t, "packages/etc/"+e.Name())) {
			name, _, isVariable := strings.Cut(strings.TrimPrefix(line, "#"), "=")
			switch {
			case !strings.HasPrefix(line, "#"):
				t.Errorf("%s sets %s", e.Name(), line)
			case !isVariable || strings.Contains(name, " "):
			case !strings.Contains(string(p.Helps[command]), "$"+name) && !strings.Contains(services, " "+name+"=") && !strings.Contains(services, "Environment="+name+"="):
				t.Errorf("%s: nothing reads %s", e.Name(), name)
			}
		}
	}
}

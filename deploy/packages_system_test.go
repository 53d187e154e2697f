//go:build system

package deploy

import (
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// packages returns the files that "make packages" makes in a new directory, by their
// names without the version.
func packages(t *testing.T, version string, args ...string) map[string]string {
	t.Helper()
	dist := filepath.Join(t.TempDir(), "a dist & co")
	makeTarget(t, append([]string{"packages", "DIST=" + dist, "VERSION=" + version}, args...)...)
	entries, err := os.ReadDir(dist)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		name := strings.ReplaceAll(e.Name(), strings.TrimPrefix(version, "v"), "VERSION")
		files[name] = filepath.Join(dist, e.Name())
	}
	return files
}

// packagedUnits are the units of the packages that have an [Install] section.
var packagedUnits = []string{"promoserve.service", "promo-updater.service", "promo-build.timer", "promo-pull.timer", "promo-pull-s3.timer"}

// A manager installs packages on a machine, as root does.
type manager struct {
	file                   string // of the package, with VERSION
	install, remove, purge []string
}

var managers = map[string]manager{
	"deb": {
		file:    "promostore_VERSION-1_amd64.deb",
		install: []string{"dpkg", "--path-include=/usr/share/*", "--install"}, // images omit manual pages
		remove:  []string{"dpkg", "--remove", "promostore"},
		purge:   []string{"dpkg", "--purge", "promostore"},
	},
	"rpm": {
		file:    "promostore-VERSION-1.x86_64.rpm",
		install: []string{"rpm", "--force-debian", "--nodeps", "--upgrade"},
		remove:  []string{"rpm", "--force-debian", "--nodeps", "--erase", "promostore"},
	},
}

// TestPackages builds the packages, which must be the same bytes again, and then
// installs, upgrades, removes and purges them.
func TestPackages(t *testing.T) {
	needs(t, "make", "dpkg", "rpm", "lintian", "man")
	files := packages(t, "v1.2.3")
	again := packages(t, "v1.2.3")
	var names []string
	for name, path := range files {
		names = append(names, name)
		if again[name] == "" || readFile(t, path) != readFile(t, again[name]) {
			t.Errorf("%s is different in the second build", name)
		}
	}
	slices.Sort(names)
	want := []string{
		"promobuild_VERSION_amd64.cdx.json", "promobuild_VERSION_arm64.cdx.json", "promoserve_VERSION_amd64.cdx.json", "promoserve_VERSION_arm64.cdx.json",
		"promostore-VERSION-1.aarch64.rpm", "promostore-VERSION-1.x86_64.rpm", "promostore_VERSION-1_amd64.deb", "promostore_VERSION-1_arm64.deb",
	}
	if !slices.Equal(names, want) || len(again) != len(files) {
		t.Fatalf("make packages makes %q, want %q", names, want)
	}
	t.Run("contents", func(t *testing.T) { checkContents(t, files) })

	const maintainer = `Ann "$HOME" O'Neill, \1 & co <ann@example.org>`
	t.Setenv("MAINTAINER", maintainer)
	upgrades := packages(t, "v1.2.4", "ARCHITECTURES=amd64")
	for name, got := range map[string]string{
		"deb": run(t, "dpkg-deb", "--field", upgrades[managers["deb"].file], "Maintainer"),
		"rpm": run(t, "rpm", "--query", "--package", "--queryformat", "%{PACKAGER}", upgrades[managers["rpm"].file]),
	} {
		if strings.TrimSpace(got) != maintainer {
			t.Errorf("the maintainer of the %s is %s", name, got)
		}
	}
	for name, m := range managers {
		t.Run(name, func(t *testing.T) { m.live(t, files[m.file], upgrades[m.file]) })
	}
}

// checkContents checks what needs no installation.
func checkContents(t *testing.T, files map[string]string) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		deb := files["promostore_VERSION-1_"+arch+".deb"]
		run(t, "lintian", "--allow-root", "--fail-on", "error,warning", deb)
		root := t.TempDir()
		run(t, "dpkg-deb", "--extract", deb, root)
		for _, program := range []string{"promobuild", "promoserve"} {
			path := filepath.Join(root, "usr/bin", program)
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			if f.Machine != machine {
				t.Errorf("%s: %s is for %v", arch, program, f.Machine)
			}
			checkComponents(t, path, files[program+"_VERSION_"+arch+".cdx.json"])
		}
		if copyright := readFile(t, filepath.Join(root, "usr/share/doc/promostore/copyright")); !strings.Contains(copyright, "github.com/valyala/fasthttp v") {
			t.Error("the copyright lacks a module")
		}

		rpm := files["promostore-VERSION-1."+map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]+".rpm"]
		run(t, "rpm", "--checksig", "--nosignature", rpm)
		list := run(t, "rpm", "--query", "--package", "--queryformat", `[%{FILEMODES:perms} %{FILEUSERNAME} %{FILENAMES}\n]`, rpm)
		configs := run(t, "rpm", "--query", "--package", "--configfiles", rpm)
		for _, line := range modes(t, root) {
			mode, name, _ := strings.Cut(line, " ")
			name = strings.Replace("/"+name, "/vendor-completions/", "/site-functions/", 1)
			if strings.HasPrefix(name, "/usr/share/lintian/") || strings.HasSuffix(name, "/copyright") || strings.HasSuffix(name, "/changelog.Debian.gz") {
				continue
			}
			if !strings.Contains(list, mode+" root "+name+"\n") {
				t.Errorf("the rpm has no file %s %s:\n%s", mode, name, list)
			}
			if isConfig := strings.HasPrefix(name, "/etc/"); isConfig != strings.Contains(configs, name+"\n") {
				t.Errorf("%s is marked as configuration: %v", name, !isConfig)
			}
		}
		if !strings.Contains(list, "/usr/share/licenses/promostore/LICENSE\n") {
			t.Errorf("the rpm has no license:\n%s", list)
		}
	}
}

// checkComponents checks that a list has the modules that are linked into a program.
func checkComponents(t *testing.T, program, list string) {
	t.Helper()
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + info.GoVersion}
	for _, m := range info.Deps {
		want = append(want, m.Path+" "+m.Version)
	}
	var sbom struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal([]byte(readFile(t, list)), &sbom); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range sbom.Components {
		got = append(got, c.Name+" "+c.Version)
	}
	slices.Sort(got)
	slices.Sort(want)
	if sbom.BOMFormat != "CycloneDX" || !slices.Equal(got, want) {
		t.Errorf("%s lists the modules %q, want %q", filepath.Base(list), got, want)
	}
}

// traces returns the files of a machine that have our name, except data.
func traces(t *testing.T, m *machine) []string {
	t.Helper()
	out := m.run(t, "find", "/etc", "/usr", "/var", "-path", "/var/lib/docker", "-prune", "-o", "-path", "/var/lib/containerd", "-prune", "-o",
		"-path", "/var/lib/private", "-prune", "-o", "-path", "/var/lib/promostore*", "-prune", "-o", "-name", "*promo*", "-print")
	return strings.Split(out, "\n")
}

// live installs a package on a machine, runs the services, upgrades, removes and
// purges.
func (p manager) live(t *testing.T, file, upgrade string) {
	m := bootWith(t, map[string]string{"first.package": file, "second.package": upgrade})
	before := traces(t, m)
	states := func(command string) string {
		out, _ := m.try(append([]string{"systemctl", command}, packagedUnits...)...)
		return strings.Join(strings.Fields(out), " ")
	}
	version := func() string { return m.run(t, "promoserve", "--version") }

	// Nothing is started or enabled.
	m.run(t, append(slices.Clone(p.install), "/first.package")...)
	if got := states("is-active"); got != "inactive inactive inactive inactive inactive" {
		t.Errorf("after the installation, the units are %s", got)
	}
	if got := states("is-enabled"); got != "disabled disabled disabled disabled disabled" {
		t.Errorf("after the installation, the units are %s", got)
	}
	if user := m.run(t, "getent", "passwd", "promostore"); !strings.HasSuffix(user, "/nologin") {
		t.Errorf("the user is %s", user)
	}
	if got := version() + m.run(t, "promobuild", "--version"); strings.Count(got, "v1.2.3") != 2 {
		t.Errorf("the programs print %s", got)
	}
	for _, page := range []string{"promobuild", "promobuild-updater", "promoserve", "promo-pull"} {
		if got := m.run(t, "env", "--chdir=/", "sh", "-c", "man --warnings --encoding=UTF-8 "+page+" 2>&1 >/dev/null"); got != "" {
			t.Errorf("man %s warns: %s", page, got)
		}
		if got := m.run(t, "man", "--where", page); got != "/usr/share/man/man1/"+page+".1.gz" {
			t.Errorf("the page of %s is %s", page, got)
		}
	}
	for _, name := range []string{"promobuild", "promoserve"} {
		m.run(t, "bash", "-c", "source /usr/share/bash-completion/completions/"+name+" && complete -p "+name)
	}
	verified := m.run(t, "env", "--chdir=/", "sh", "-c", "SYSTEMD_UNIT_PATH=/units:/usr/lib/systemd/system systemd-analyze verify --recursive-errors=no /usr/lib/systemd/system/promo*")
	if strings.Contains(verified, "promo") {
		t.Errorf("systemd-analyze: %s", verified)
	}

	// The services run as the user of the package.
	address, admin, updater := freeAddress(t), freeAddress(t), freeAddress(t)
	settings := "PROMO_LISTEN=" + address + "\nPROMO_ADMIN_LISTEN=" + admin + "\nPROMO_POLL=20ms\nPROMO_DRAIN=0s\n"
	m.write(t, "/etc/promostore/promoserve.env", settings)
	m.write(t, "/etc/promostore/promo-updater.env", "PROMO_LISTEN="+updater+"\nPROMO_MEMORY=64MiB\n")
	m.run(t, "systemctl", "enable", "--now", "promoserve.service", "promo-updater.service")
	generation := upload(t, "http://"+updater, "", 0)
	waitLive(t, "http://"+address, generation)
	files, err := filepath.Glob(m.root + "/var/lib/private/promostore/promotions-*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no generation, %v", err)
	}
	owner := func() string { return m.run(t, "stat", "--format", "%U:%G", "/var/lib/private/promostore") }
	if got := owner(); got != "promostore:promostore" {
		t.Errorf("the data belong to %s", got)
	}

	// An upgrade keeps the configuration and does not interrupt the service.
	pid := m.property(t, "promoserve", "MainPID")
	m.run(t, append(slices.Clone(p.install), "/second.package")...)
	if got := m.property(t, "promoserve", "MainPID"); got != pid {
		t.Errorf("the upgrade replaces the process %s by %s", pid, got)
	}
	if got := version(); !strings.Contains(got, "v1.2.4") {
		t.Errorf("after the upgrade, the program prints %s", got)
	}
	if got := m.run(t, "cat", "/etc/promostore/promoserve.env"); got != strings.TrimSpace(settings) {
		t.Errorf("after the upgrade, the configuration is %s", got)
	}
	m.run(t, "systemctl", "restart", "promoserve")
	waitLive(t, "http://"+address, generation)
	if got := states("is-enabled"); got != "enabled enabled disabled disabled disabled" {
		t.Errorf("after the upgrade, the units are %s", got)
	}

	// Removal stops the services. In the end, only the data remain.
	m.run(t, p.remove...)
	if got := states("is-active"); got != "inactive inactive inactive inactive inactive" {
		t.Errorf("after the removal, the units are %s", got)
	}
	if _, err := get("http://" + address + "/healthz"); err == nil {
		t.Error("after the removal, the server answers")
	}
	saved := "/etc/promostore/promoserve.env"
	if p.purge == nil {
		saved += ".rpmsave"
	}
	if got := m.run(t, "cat", saved); got != strings.TrimSpace(settings) {
		t.Errorf("after the removal, the configuration is %s", got)
	}
	if p.purge != nil {
		m.run(t, p.purge...)
	} else {
		m.run(t, "rm", "-r", "/etc/promostore")
	}
	if left := slices.DeleteFunc(traces(t, m), func(path string) bool { return slices.Contains(before, path) }); len(left) > 0 {
		t.Errorf("in the end there are still %q", left)
	}
	for _, path := range files {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if got := owner(); got != "promostore:promostore" {
		t.Errorf("in the end, the data belong to %s", got)
	}
}

//go:build system

package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	store "promostore/internal/objects"
	"promostore/internal/objecttest"
)

// units returns the unit files of a kind, such as service.
func units(t *testing.T, kind string) []string {
	t.Helper()
	paths, err := filepath.Glob("systemd/*." + kind)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no units of kind %s: %v", kind, err)
	}
	return paths
}

// TestUnitsVerify checks the units with systemd-analyze, which must find no error
// in them, and an error in units with an unknown key.
func TestUnitsVerify(t *testing.T) {
	needs(t, "systemd-analyze")
	bin := t.TempDir()
	for _, p := range installed(t) {
		if err := os.Symlink(p, filepath.Join(bin, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(extra string) (string, error) {
		args := []string{"verify", "--man=no", "--recursive-errors=no"}
		dir := t.TempDir()
		for _, path := range append(units(t, "service"), units(t, "timer")...) {
			text := strings.ReplaceAll(readFile(t, path), "/usr/local/bin/", bin+"/") + extra
			path = filepath.Join(dir, filepath.Base(path))
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		return string(out), err
	}
	if out, err := verify(""); err != nil || strings.Contains(out, "promo") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := verify("\nNoSuchKey=1\n"); err == nil || !strings.Contains(out, "NoSuchKey") {
		t.Errorf("a bad unit passes: %s", out)
	}
}

// installed returns the paths of the programs that the units start.
func installed(t *testing.T) []string {
	t.Helper()
	pull, err := filepath.Abs("rsync/promo-pull")
	if err != nil {
		t.Fatal(err)
	}
	return []string{program(t, "promobuild"), program(t, "promoserve"), pull}
}

var exposureLine = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// exposure returns the exposure level of a service, from 0 to 10, according to
// systemd-analyze.
func exposure(t *testing.T, path string) float64 {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	out := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", path)
	m := exposureLine.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no exposure in %s", out)
	}
	e, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestUnitsSecurity(t *testing.T) {
	needs(t, "systemd-analyze")
	const limit = 2.0
	for _, path := range units(t, "service") {
		if e := exposure(t, path); e >= limit {
			t.Errorf("the exposure of %s is %v, want less than %v", path, e, limit)
		}
	}
	open := filepath.Join(t.TempDir(), "open.service")
	if err := os.WriteFile(open, []byte("[Service]\nExecStart=/bin/true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := exposure(t, open); e < limit {
		t.Errorf("the exposure of an unrestricted service is %v", e)
	}
}

// A machine is a running systemd with the unmodified units and all their
// restrictions, on the network of this machine.
type machine struct {
	pid  string // of its first process
	root string // its files
}

// boot boots a machine that has our programs and units.
func boot(t *testing.T) *machine {
	t.Helper()
	files := map[string]string{}
	for _, path := range installed(t) {
		files["usr/local/bin/"+filepath.Base(path)] = path
	}
	for _, path := range append(units(t, "service"), units(t, "timer")...) {
		files["units/"+filepath.Base(path)] = path
	}
	return bootWith(t, files)
}

// bootWith boots a machine that has copies of files, by their names there, and no
// units of this machine. The services write to /log.
func bootWith(t *testing.T, copies map[string]string) *machine {
	t.Helper()
	needs(t, "unshare", "nsenter", "/lib/systemd/systemd", "systemctl", "/bin/kill")
	files := t.TempDir()
	put := func(name, text string, mode os.FileMode) {
		path := filepath.Join(files, name)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode))
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(files, 0o755); err != nil { // becomes the root directory
		t.Fatal(err)
	}
	for name, path := range copies {
		mode := os.FileMode(0o644)
		if strings.Contains(name, "/bin/") {
			mode = 0o755
		}
		put(name, readFile(t, path), mode)
	}
	for _, target := range []string{"sysinit", "basic", "network-online", "timers", "shutdown", "test"} {
		put("units/"+target+".target", "[Unit]\nDefaultDependencies=no\n", 0o644)
	}
	put("units/service.d/log.conf", "[Service]\nStandardOutput=append:/log\n", 0o644)
	if err := os.Mkdir(filepath.Join(files, "state"), 0o700); err != nil {
		t.Fatal(err)
	}

	group := fmt.Sprintf("promostore-test-%d", os.Getpid())
	dir := t.TempDir()
	t.Cleanup(func() { // runs after the cleanup of start
		const remove = `mount -t cgroup2 cgroup2 "$1" && find "$1/$2" -depth -type d -exec rmdir {} +`
		waitFor(t, "the processes of the machine are gone", func() bool {
			return exec.Command("unshare", "--mount", "sh", "-c", remove, "sh", dir, group).Run() == nil
		})
	})
	p := start(t, "unshare", "--mount", "bash", "testdata/boot.sh", dir, group, files)
	m := &machine{}
	waitFor(t, "systemd has booted", func() bool {
		select {
		case <-p.exited:
			t.Fatal("systemd does not boot")
		default:
		}
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Process.Pid))
		if err != nil || len(bytes.Fields(children)) != 1 {
			return false
		}
		m.pid = string(bytes.TrimSpace(children))
		m.root = "/proc/" + m.pid + "/root"
		_, err = m.try("systemctl", "is-active", "test.target") // a target that no other systemd has
		return err == nil
	})
	t.Cleanup(func() {
		if t.Failed() {
			log, err := os.ReadFile(m.root + "/log")
			status, _ := m.try("systemctl", "status", "--no-pager", "--lines=0", "promo*")
			t.Logf("%s\n%s\n%v", status, log, err)
		}
	})
	return m
}

// try runs a command in the machine and returns its output.
func (m *machine) try(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	args := append([]string{"--target", m.pid, "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--root", "--wd=/", "--"}, command...)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs a command in the machine. The command must succeed.
func (m *machine) run(t *testing.T, command ...string) string {
	t.Helper()
	out, err := m.try(command...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", command, err, out)
	}
	return out
}

// write writes a file that belongs to root.
func (m *machine) write(t *testing.T, path, text string) {
	t.Helper()
	path = m.root + path
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path))
	if err != nil {
		t.Fatal(err)
	}
}

// moveToInbox moves a copy of a file, readable by all, into the inbox.
func (m *machine) moveToInbox(t *testing.T, path string) {
	t.Helper()
	state := m.root + "/var/lib/private/"
	err := errors.Join(os.WriteFile(state+"promotions.csv", []byte(readFile(t, path)), 0o644), os.Rename(state+"promotions.csv", state+"promostore-inbox/promotions.csv"))
	if err != nil {
		t.Fatal(err)
	}
}

// override changes a line of a unit and restarts it.
func (m *machine) override(t *testing.T, unit, line string) {
	t.Helper()
	m.write(t, "/units/"+unit+".d/override.conf", "[Service]\n"+line+"\n")
	m.run(t, "systemctl", "daemon-reload")
	m.run(t, "systemctl", "restart", unit)
}

// property returns a property of a unit.
func (m *machine) property(t *testing.T, unit, name string) string {
	t.Helper()
	return m.run(t, "systemctl", "show", "--value", "--property", name, unit)
}

var published = regexp.MustCompile(`"generation":"([0-9TZ]+)"`)

// upload uploads the data set of a seed to an updater and returns the generation.
func upload(t *testing.T, url, token string, seed uint64) string {
	t.Helper()
	f, err := os.Open(writeCSV(t, seed, pullRows))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	req, err := http.NewRequest(http.MethodPost, url+"/upload", f)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	g := published.FindSubmatch(answer)
	if err != nil || resp.StatusCode != http.StatusCreated || g == nil {
		t.Fatalf("upload: %d %s, %v", resp.StatusCode, answer, err)
	}
	return string(g[1])
}

// usesRing returns the value of the server's metric for io_uring.
func usesRing(t *testing.T, url string) string {
	t.Helper()
	a, err := get(url + "/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^promoserve_io_uring (\d)$`).FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no promoserve_io_uring: %s", a.body)
	}
	return m[1]
}

// buildByTasks runs the script of a comment of promo-build.service with the data set of
// a seed, and returns the generation. A bad row fails it at once.
func (m *machine) buildByTasks(t *testing.T, server *objecttest.Server, seed uint64) string {
	t.Helper()
	var script strings.Builder
	for line := range strings.Lines(readFile(t, "systemd/promo-build.service")) {
		if line, ok := strings.CutPrefix(line, "#   "); ok && regexp.MustCompile(`^(export|result|plan|for|promobuild)\b`).MatchString(line) {
			script.WriteString(line)
		}
	}
	url := "s3://" + objecttest.Bucket
	text := strings.NewReplacer("s3://exports/$(date -u +%F)/part-*.csv.gz", url+"/exports/part-*.csv", "s3://bucket", url).Replace(script.String())
	m.write(t, "/etc/promostore/build", "export AWS_ENDPOINT_URL_S3="+server.URL+"\n"+text)
	bucket, _, err := store.Parse(url, server.Options())
	if err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		if _, err := bucket.Put(t.Context(), "exports/part-0.csv", strings.NewReader(text), int64(len(text)), store.Always); err != nil {
			t.Fatal(err)
		}
	}
	put("id,price,expiration_date\nbad,row\n")
	m.write(t, "/units/promo-build.service.d/credentials.conf", "[Service]\nLoadCredential=aws.credentials:/etc/promostore/aws.credentials\n")
	m.run(t, "systemctl", "daemon-reload")
	if out, err := m.try("systemctl", "start", "promo-build"); err == nil {
		t.Errorf("a build of a bad row succeeds: %s", out)
	}
	if status, state := m.property(t, "promo-build", "ExecMainStatus"), m.property(t, "promo-build", "ActiveState"); status != "3" || state != "failed" {
		t.Errorf("a build of a bad row ends with %s and is %s", status, state)
	}
	put(readFile(t, writeCSV(t, seed, pullRows)))
	m.run(t, "systemctl", "start", "promo-build")
	g := regexp.MustCompile(`(?m)^generation +([0-9TZ]+)$`).FindStringSubmatch(readFile(t, m.root+"/log"))
	if g == nil {
		t.Fatal("no generation is in the log")
	}
	return g[1]
}

// TestUnitsRun runs all units: first on a serving node that pulls, which then
// becomes a building node as well.
func TestUnitsRun(t *testing.T) {
	source := newMirror(t)
	m := boot(t)
	const data = "/var/lib/private/promostore"
	address, admin, updater := freeAddress(t), freeAddress(t), freeAddress(t)
	url := "http://" + address
	environment := "PROMO_LISTEN=" + address + "\nPROMO_ADMIN_LISTEN=" + admin + "\nPROMO_POLL=20ms\nPROMO_DRAIN=0s\n"
	m.write(t, "/etc/promostore/promoserve.env", environment+"PROMO_ACCESS=pread\n")
	updaterEnvironment := "PROMO_LISTEN=" + updater + "\nPROMO_MEMORY=64MiB\n"
	m.write(t, "/etc/promostore/promo-updater.env", updaterEnvironment)
	m.write(t, "/etc/promostore/promo-pull.env", "SOURCE="+source.url+"\nKEEP=3\nOPTIONS=--bwlimit=100m --checksum\n")

	// The server starts with an empty directory.
	m.run(t, "systemctl", "start", "promoserve")
	if a, err := get(url + "/readyz"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("/readyz of an empty directory: %v, %v", a, err)
	}
	if got := m.property(t, "promoserve", "StatusText"); got != "no generation is live" {
		t.Errorf("the status is %q", got)
	}

	// The timer continues after a pull that failed because it has no password.
	m.run(t, "systemctl", "start", "promo-pull.timer")
	waitFor(t, "a pull fails", func() bool { return m.property(t, "promo-pull", "Result") != "success" })
	_, first := source.publish(t, 0)
	m.write(t, "/etc/promostore/rsync.secret", "secret\n")
	waitLive(t, url, first)

	// The node gets the digits of a group, and later all digits again.
	m.write(t, "/etc/promostore/digits.env", "PROMO_DIGITS=0-7\n")
	m.run(t, "systemctl", "restart", "promoserve")
	_, sharded := source.publish(t, 5, "--shards", "16")
	waitLive(t, url, sharded)
	shards := func() []string {
		paths, err := filepath.Glob(m.root + data + "/promotions-" + sharded + "-*")
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	if got := shards(); len(got) != 8 {
		t.Errorf("a node of half the digits has %q", got)
	}
	if a, err := get(url + "/promotions/0192f3c4-5d6e-7f80-9a1b-2c3d4e5f6a7f"); err != nil || a.status != http.StatusMisdirectedRequest {
		t.Errorf("an id of another group: %v, %v", a, err)
	}
	m.run(t, "rm", "/etc/promostore/digits.env")
	waitFor(t, "the pull copies the other shards", func() bool { return len(shards()) == 16 })
	m.run(t, "systemctl", "restart", "promoserve")
	waitLive(t, url, sharded)

	// The next one comes through object storage. That pull continues as well after it
	// failed because it has no credentials.
	m.run(t, "systemctl", "stop", "promo-pull.timer", "promo-pull.service")
	server := objecttest.New(t)
	server.Setenv(t)
	m.write(t, "/etc/promostore/promo-pull-s3.env", "SOURCE=s3://bucket/promotions\nKEEP=3\nAWS_REGION=us-east-1\nAWS_ENDPOINT_URL_S3="+server.URL+"\n")
	m.run(t, "systemctl", "start", "promo-pull-s3.timer")
	waitFor(t, "a pull from object storage fails", func() bool { return m.property(t, "promo-pull-s3", "Result") != "success" })
	m.write(t, "/etc/promostore/aws.credentials", fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", objecttest.AccessKeyID, objecttest.SecretAccessKey))
	second := m.buildByTasks(t, server, 1)
	waitLive(t, url, second)
	if got := m.property(t, "promoserve", "StatusText"); got != "serving generation "+second {
		t.Errorf("the status is %q", got)
	}

	// The filter of system calls permits io_uring if this machine has it.
	unlimited := serve(t, source.source, "--access", "pread")
	waitLive(t, unlimited.url, sharded)
	if got, want := usesRing(t, url), usesRing(t, unlimited.url); got != want {
		t.Errorf("as a service promoserve_io_uring is %s, without limits %s", got, want)
	}
	main := m.property(t, "promoserve", "MainPID")
	if out, err := m.try("nsenter", "--target", main, "--mount", "touch", data+"/file"); err == nil || !strings.Contains(out, "Read-only") {
		t.Errorf("the directory of the server is not read-only: %v %s", err, out)
	}

	// An updater takes over. A pin and a lock file that belong to root do not
	// prevent it from publishing.
	m.run(t, "systemctl", "stop", "promo-pull-s3.timer", "promo-pull-s3.service")
	m.run(t, "rm", "-f", data+"/.lock")
	m.run(t, "promobuild", "rollback", "--data", "/var/lib/promostore", "--reason", "test")
	waitLive(t, url, sharded)
	if a, err := get("http://" + admin + "/status"); err != nil || a.status != http.StatusOK || !strings.Contains(a.body, `"reason":"test"`) {
		t.Errorf("/status on the admin listener: %v, %v", a, err)
	}
	m.write(t, "/etc/promostore/tokens", "token\n")
	m.override(t, "promo-updater.service", "LoadCredential=tokens:/etc/promostore/tokens\nEnvironment=PROMO_TOKEN_FILE=%d/tokens PROMO_INBOX_QUIET=2s")
	third := upload(t, "http://"+updater, "token", 2)
	m.run(t, "promobuild", "unpin", "--data", "/var/lib/promostore")
	waitLive(t, url, third)
	m.moveToInbox(t, writeCSV(t, 3, pullRows))
	served := func(seed uint64) (generation string) {
		t.Helper()
		waitFor(t, "the data set of the inbox is served", func() bool {
			a, err := get(url + "/promotions/" + id(seed))
			generation = a.generation
			return err == nil && a.status == http.StatusOK
		})
		return generation
	}
	previous := served(3)

	// The inbox of a group, like in the comment of the unit.
	m.run(t, "groupadd", "promo-inbox")
	m.run(t, "install", "--directory", "--group", "promo-inbox", "--mode", "2775", "/srv/inbox")
	m.write(t, "/etc/promostore/promo-updater.env", updaterEnvironment+"PROMO_INBOX=/srv/inbox\nPROMO_INBOX_QUIET=1s\n")
	m.override(t, "promo-updater.service", "SupplementaryGroups=promo-inbox\nReadWritePaths=/srv/inbox")
	if err := os.WriteFile(m.root+"/tmp/promotions.csv", []byte(readFile(t, writeCSV(t, 4, pullRows))), 0o644); err != nil {
		t.Fatal(err)
	}
	m.run(t, "setpriv", "--reuid", "daemon", "--regid", "promo-inbox", "--clear-groups", "cp", "/tmp/promotions.csv", "/srv/inbox")
	last := served(4)

	for _, unit := range []string{"promoserve", "promo-updater"} {
		before := m.property(t, unit, "MainPID")
		m.run(t, "systemctl", "reload", unit)
		if after, state := m.property(t, unit, "MainPID"), m.property(t, unit, "ActiveState"); after != before || state != "active" {
			t.Errorf("after a reload %s is %s, and its process was %s and is %s", unit, state, before, after)
		}
	}
	m.run(t, "systemctl", "stop", "promo-updater")

	// The server works if io_uring is forbidden with EPERM.
	m.override(t, "promoserve.service", "SystemCallFilter=~@aio")
	waitLive(t, url, last)
	if got := usesRing(t, url); got != "0" {
		t.Errorf("with ~@aio promoserve_io_uring is %s", got)
	}

	// A file that is truncated while it is mapped does not end the process.
	m.write(t, "/etc/promostore/promoserve.env", environment+"PROMO_ACCESS=mmap\n")
	m.override(t, "promoserve.service", "")
	waitLive(t, url, last)
	live, err := filepath.Glob(m.root + data + "/promotions-" + last + "-*")
	if err != nil || len(live) != 1 {
		t.Fatalf("%s: %v, %v", last, live, err)
	}
	if err := os.Truncate(live[0], 4096); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the previous generation is served", func() bool {
		a, err := get(url + "/promotions/" + id(3))
		return err == nil && a.generation == previous
	})

	// A server that hangs is killed and restarted.
	m.override(t, "promoserve.service", "WatchdogSec=4s")
	waitLive(t, url, previous)
	if got := m.property(t, "promoserve", "NRestarts"); got != "0" {
		t.Errorf("the server was restarted %s times", got)
	}
	main = m.property(t, "promoserve", "MainPID")
	m.run(t, "systemctl", "kill", "--signal=STOP", "--kill-who=main", "promoserve")
	waitFor(t, "the watchdog restarts the server", func() bool {
		return m.property(t, "promoserve", "NRestarts") != "0" && m.property(t, "promoserve", "ActiveState") == "active"
	})
	if after := m.property(t, "promoserve", "MainPID"); after == main {
		t.Errorf("process %s is still the server", after)
	}
	waitLive(t, url, previous)

	m.run(t, "systemctl", "stop", "promoserve")
	for _, unit := range []string{"promoserve", "promo-updater", "promo-pull", "promo-pull-s3", "promo-build"} {
		if got := m.property(t, unit, "Result"); got != "success" {
			t.Errorf("the result of %s is %s", unit, got)
		}
	}
}

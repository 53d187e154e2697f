//go:build system || campaign

package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// pullRows is the number of rows of pulled data sets. Their files of 6.5 MB exceed
// the socket buffers of the kernel, so the daemon cannot reach the next file while
// a connection is held.
const pullRows = 200_000

// A mirror is a building node, whose rsync daemon has the configuration in
// deploy/rsync, and a serving node that pulls from it.
type mirror struct {
	source, data string // directories
	address, url string // of the daemon
	password     string // --password-file=…
	digits       string // of the serving node; empty: all

	dataSets
}

func newMirror(t *testing.T) *mirror {
	t.Helper()
	needs(t, "rsync", "flock")
	m := &mirror{source: t.TempDir(), data: filepath.Join(t.TempDir(), "data")}
	secrets := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(secrets, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	m.password = "--password-file=" + write("password", "secret\n")
	config, err := os.ReadFile("rsync/rsyncd.conf")
	if err != nil {
		t.Fatal(err)
	}
	for old, path := range map[string]string{
		"path = /var/lib/promostore\n":                    m.source,
		"secrets file = /etc/promostore/rsyncd.secrets\n": write("rsyncd.secrets", "promo:secret\n"),
		"lock file = /run/rsyncd.lock\n":                  filepath.Join(secrets, "lock"),
	} {
		if bytes.Count(config, []byte(old)) != 1 {
			t.Fatalf("rsyncd.conf does not have %q once", old)
		}
		key, _, _ := strings.Cut(old, "=")
		config = bytes.Replace(config, []byte(old), []byte(key+"= "+path+"\n"), 1)
	}
	m.address = freeAddress(t)
	host, port, err := net.SplitHostPort(m.address)
	if err != nil {
		t.Fatal(err)
	}
	start(t, "rsync", "--daemon", "--no-detach", "--address="+host, "--port="+port, "--log-file=/dev/stdout", "--config="+write("rsyncd.conf", string(config)))
	waitFor(t, "the rsync daemon listens", func() bool {
		conn, err := net.Dial("tcp", m.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	m.url = fmt.Sprintf("rsync://promo@%s/promotions", m.address)
	return m
}

// node returns another serving node, which pulls the shards of some digits.
func (m *mirror) node(t *testing.T, digits string) *mirror {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	return &mirror{source: m.source, data: data, address: m.address, url: m.url, password: m.password, digits: digits}
}

// publish builds a generation from the data set of a seed on the building node. path
// is that of its first file.
func (m *mirror) publish(t *testing.T, seed uint64, flags ...string) (path, generation string) {
	t.Helper()
	path = build(t, m.source, seed, pullRows, flags...)
	generation = idOf(t, path)
	m.add(generation, seed)
	return path, generation
}

// copyOf returns the path on the serving node of a file of the building node.
func (m *mirror) copyOf(path string) string { return filepath.Join(m.data, filepath.Base(path)) }

// command returns the arguments of promo-pull. Until the test ends, pulls find
// promobuild and pull the shards of the digits of m.
func (m *mirror) command(t *testing.T, keep string, options ...string) []string {
	t.Helper()
	t.Setenv("PATH", filepath.Dir(program(t, "promobuild"))+":"+os.Getenv("PATH"))
	t.Setenv("PROMO_DIGITS", m.digits)
	return append([]string{m.url, m.data, keep, m.password}, options...)
}

// pull runs promo-pull. It must succeed.
func (m *mirror) pull(t *testing.T, options ...string) {
	t.Helper()
	run(t, "rsync/promo-pull", m.command(t, "2", options...)...)
}

// pullCounting runs promo-pull and returns the number of file bytes that were sent
// over the network.
func (m *mirror) pullCounting(t *testing.T) int64 {
	t.Helper()
	out := run(t, "rsync/promo-pull", m.command(t, "2", "--stats")...)
	sum, found := int64(0), false
	for line := range strings.Lines(out) {
		var n int64
		if _, err := fmt.Sscanf(strings.ReplaceAll(line, ",", ""), "Literal data: %d bytes", &n); err == nil {
			sum, found = sum+n, true
		}
	}
	if !found {
		t.Fatalf("no statistics of rsync in: %s", out)
	}
	return sum
}

// pullHeld starts a pull over a connection that stops after the first some bytes
// of the file until release is called. It returns when these bytes have arrived,
// under a hidden name.
func (m *mirror) pullHeld(t *testing.T, path string, some int64) (p *process, release func()) {
	t.Helper()
	release = m.hold(t, some, func() { p = start(t, "rsync/promo-pull", m.command(t, "2")...) })
	m.waitSome(t, ".incoming/."+filepath.Base(path)+".??????", some)
	return p, release
}

// stopHeld stops a pull that is held, then releases it: rsync sends the daemon a
// final message and waits half a minute for the response.
func stopHeld(p *process, release func()) {
	p.signal(syscall.SIGTERM)
	release()
	<-p.exited
}

// hold calls begin, which starts a pull. The pull uses a connection that stops
// after the first some bytes of a file until release is called.
func (m *mirror) hold(t *testing.T, some int64, begin func()) (release func()) {
	t.Helper()
	const buffer = 512 << 10 // more than rsync buffers before it writes
	direct, held := m.url, make(chan struct{})
	release = sync.OnceFunc(func() { close(held) })
	t.Cleanup(release)
	m.pullOver(t, some+buffer, func([]byte) bool {
		<-held
		return true
	})
	begin()
	m.url = direct
	return release
}

// waitSome waits until a hidden file has at least some bytes.
func (m *mirror) waitSome(t *testing.T, pattern string, some int64) {
	t.Helper()
	waitFor(t, "some of the file", func() bool {
		for _, temp := range m.hidden(t, pattern) {
			if info, err := os.Stat(temp); err == nil && info.Size() >= some {
				return true
			}
		}
		return false
	})
}

// pullOver directs pulls through a proxy in front of the daemon. Once, at an offset
// of the data from the daemon, the proxy calls at with the next bytes. It closes
// the connection if at returns false. called reports whether it has called at.
func (m *mirror) pullOver(t *testing.T, offset int64, at func([]byte) bool) (called *atomic.Bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	m.url = strings.Replace(m.url, m.address, ln.Addr().String(), 1)
	called = new(atomic.Bool)
	pass := func(client, daemon net.Conn) {
		defer client.Close()
		b := make([]byte, 32<<10)
		for rest := offset; ; {
			n, err := daemon.Read(b)
			before := b[:min(max(rest, 0), int64(n))]
			_, werr := client.Write(before)
			rest -= int64(n)
			if len(before) < n {
				if called.CompareAndSwap(false, true) && !at(b[len(before):n]) {
					return
				}
				_, werr = client.Write(b[len(before):n])
			}
			if err != nil || werr != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			daemon, err := net.Dial("tcp", m.address)
			if err != nil {
				client.Close()
				continue
			}
			go pass(client, daemon)
			go func() {
				_, _ = io.Copy(daemon, client)
				daemon.Close()
			}()
		}
	}()
	return called
}

func (m *mirror) hidden(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.data, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// wantFiles checks the files of the serving node after a pull. The summaries of
// their generations may be there too, and no others.
func (m *mirror) wantFiles(t *testing.T, paths ...string) {
	t.Helper()
	want := []string{}
	for _, path := range paths {
		want = append(want, filepath.Base(path))
	}
	entries, err := os.ReadDir(m.data)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{}
	for _, e := range entries {
		name := e.Name()
		if before, ok := strings.CutSuffix(name, ".summary.json"); ok && slices.ContainsFunc(want, func(file string) bool { return strings.HasPrefix(file, before+"-") }) {
			continue
		}
		if name != ".lock" && name != ".pull.lock" {
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the serving node has %q, want %q", got, want)
	}
}

// wantSummaries checks that the serving node has the summaries of the files of the
// building node.
func (m *mirror) wantSummaries(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		name := "promotions-" + idOf(t, path) + ".summary.json"
		want, err := os.ReadFile(filepath.Join(m.source, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(m.data, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("summary %s: %q, %v; want %q", name, got, err, want)
		}
	}
}

// serve serves the generations of the serving node, and until the test ends requests
// promotions of all data sets. No request may fail, and every response must match
// the generation that it names.
func (m *mirror) serve(t *testing.T) *server {
	t.Helper()
	s := serve(t, m.data)
	waitFor(t, "the server is ready", func() bool {
		a, err := get(s.url + "/readyz")
		return err == nil && a.status == http.StatusOK
	})
	m.ask(t, s.url)
	return s
}

// flip flips one bit in the middle of a file, like a failing disk: the length and
// the time stay. It replaces the file, because a server that has the good file
// open does not verify it again.
func flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	other := filepath.Join(filepath.Dir(path), ".flipped")
	err = errors.Join(os.WriteFile(other, content, 0o644), os.Chtimes(other, info.ModTime(), info.ModTime()), os.Rename(other, path))
	if err != nil {
		t.Fatal(err)
	}
}

// refused returns the number of generations that the server has refused.
func refused(t *testing.T, s *server) int {
	t.Helper()
	a, err := get(s.url + "/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(a.body) {
		var n int
		if _, err := fmt.Sscanf(line, `promoserve_generation_swaps_total{result="refused"} %d`, &n); err == nil {
			return n
		}
	}
	t.Fatal("there is no promoserve_generation_swaps_total")
	return 0
}

// TestDaemonServesGenerationsOnly checks that the daemon sends generations and the
// pin to clients that know the password, and nothing else.
func TestDaemonServesGenerationsOnly(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	for _, name := range []string{"secret.txt", ".promotions.tmp", "promotions.csv", "x.summary.json", ".promotions-x.summary.json.tmp"} {
		if err := os.WriteFile(filepath.Join(m.source, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := run(t, "rsync", m.password, m.url+"/")
	if !strings.Contains(list, filepath.Base(path)) || !strings.Contains(list, ".summary.json\n") || len(strings.Split(strings.TrimSpace(list), "\n")) != 3 { // and "."
		t.Errorf("the daemon lists\n%s", list)
	}
	wrong := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(wrong, []byte("guessed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	modules, _, _ := strings.Cut(m.url, "/promotions")
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"a wrong password", []string{"--password-file=" + wrong, m.url + "/"}, "auth failed"},
		{"another file", []string{m.password, m.url + "/secret.txt", t.TempDir()}, "failed"},
		{"a write", []string{m.password, path, m.url + "/"}, "read only"},
		{"a path outside", []string{m.password, m.url + "/../../etc/passwd", t.TempDir()}, "failed"},
	} {
		out, err := exec.Command("rsync", c.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
	}
	if out := run(t, "rsync", modules+"/"); strings.TrimSpace(out) != "" {
		t.Errorf("the daemon lists the modules %s", out)
	}
}

// pullFails runs promo-pull, which must fail and print the reason.
func (m *mirror) pullFails(t *testing.T, reason string) {
	t.Helper()
	out, err := exec.Command("rsync/promo-pull", m.command(t, "2")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), reason) {
		t.Errorf("the pull ends with %v, want %q:\n%s", err, reason, out)
	}
}

func TestPull(t *testing.T) {
	m := newMirror(t)
	m.pullFails(t, "/promotions/ has no complete generations")
	m.wantFiles(t)
	var paths []string
	for seed := range uint64(4) {
		path, _ := m.publish(t, seed)
		paths = append(paths, path)
	}
	if out := run(t, "rsync/promo-pull", m.command(t, "2")...); !strings.Contains(out, "generations: 2 wanted, 2 new "+idOf(t, paths[2])+" "+idOf(t, paths[3])) {
		t.Errorf("the pull prints\n%s", out)
	}
	m.wantFiles(t, paths[2:]...)
	m.wantSummaries(t, paths[2:]...)
	before, err := os.Stat(m.copyOf(paths[2]))
	if err != nil {
		t.Fatal(err)
	}

	// Pruned generations do not come back, and files that are up to date stay.
	if n := m.pullCounting(t); n != 0 {
		t.Errorf("a pull without changes sends %d bytes", n)
	}
	m.wantFiles(t, paths[2:]...)
	if after, err := os.Stat(m.copyOf(paths[2])); err != nil || !os.SameFile(before, after) {
		t.Errorf("a pull replaced a file that was up to date, %v", err)
	}

	// A building node that lost its files does not empty the serving node.
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	m.pullFails(t, "has no complete generations")
	m.wantFiles(t, paths[2:]...)

	for _, args := range [][]string{{}, {m.url, m.data}, {m.url, m.data, "0"}, {m.url, m.data, "--checksum"}} {
		out, err := exec.Command("rsync/promo-pull", args...).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "usage:") {
			t.Errorf("promo-pull %q: %v: %s", args, err, out)
		}
	}
	if out, err := exec.Command("rsync/promo-pull", "rsync://promo@"+freeAddress(t)+"/promotions", m.data, "2", m.password).CombinedOutput(); err == nil {
		t.Errorf("without a daemon: %s", out)
	}
	m.wantFiles(t, paths[2:]...)
}

// TestPullSummaries checks that a generation arrives whether or not the source has a
// summary of it, and that a summary goes with its generation.
func TestPullSummaries(t *testing.T) {
	m := newMirror(t)
	without, _ := m.publish(t, 0)
	if err := os.Remove(filepath.Join(m.source, "promotions-"+idOf(t, without)+".summary.json")); err != nil {
		t.Fatal(err)
	}
	first, _ := m.publish(t, 1, "--shards", "16")
	orphan := filepath.Join(m.source, "promotions-20200101T000000000Z.summary.json")
	if err := os.WriteFile(orphan, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.pull(t)
	m.wantSummaries(t, first)
	for range 2 {
		path, _ := m.publish(t, 2)
		m.pull(t)
		m.wantSummaries(t, path)
	}
	names, err := filepath.Glob(filepath.Join(m.data, "*.summary.json"))
	if err != nil || len(names) != 2 {
		t.Errorf("the serving node has the summaries %q, %v", names, err)
	}
	if hidden := m.hidden(t, ".*summary*"); len(hidden) > 0 {
		t.Errorf("%q remain", hidden)
	}
}

// TestPullPassesOverBadSummaries checks that a generation arrives although its summary
// cannot be read at the source, is a directory there, or cannot be written here.
func TestPullPassesOverBadSummaries(t *testing.T) {
	m := newMirror(t)
	var paths []string
	for i, spoil := range []func(summary string) error{
		func(summary string) error { return os.Chmod(filepath.Join(m.source, summary), 0o200) }, // the daemon is not root
		func(summary string) error {
			path := filepath.Join(m.source, summary)
			return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "x"), 0o755))
		},
		func(summary string) error { return os.MkdirAll(filepath.Join(m.data, summary, "x"), 0o755) },
	} {
		path, id := m.publish(t, uint64(i))
		if err := spoil("promotions-" + id + ".summary.json"); err != nil {
			t.Fatal(err)
		}
		m.pull(t)
		paths = append(paths, path)
		m.wantFiles(t, paths[max(0, i-1):]...)
	}
	if hidden := m.hidden(t, ".[^lp]*"); len(hidden) > 0 { // except locks
		t.Errorf("%q remain", hidden)
	}
	good, _ := m.publish(t, 3)
	m.pull(t)
	m.wantSummaries(t, good)
}

// TestPullWithFullTemporaryDirectory checks that a pull from a source with many
// generations does not need a temporary directory.
func TestPullWithFullTemporaryDirectory(t *testing.T) {
	needs(t, "unshare")
	m := newMirror(t)
	for i := range 2000 { // 100 kB of names, more than bash keeps in a pipe
		name := fmt.Sprintf("promotions-20250101T%06d000Z-00000-of-00001.pgen", i)
		if err := os.WriteFile(filepath.Join(m.source, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path, _ := m.publish(t, 0)
	t.Setenv("TMPDIR", t.TempDir())
	const full = `mount -t tmpfs -o nr_inodes=1 tmpfs "$TMPDIR" && exec "$@"`
	run(t, "unshare", append([]string{"--mount", "sh", "-c", full, "sh", "rsync/promo-pull"}, m.command(t, "1")...)...)
	m.wantFiles(t, path)
}

// TestPullWithoutProgram checks that a pull names the program that is missing.
func TestPullWithoutProgram(t *testing.T) {
	m := newMirror(t)
	m.publish(t, 0)
	args := m.command(t, "2")
	for _, missing := range []string{"rsync", "flock", "promobuild"} {
		dir := t.TempDir()
		for _, name := range []string{"bash", "rsync", "flock", "promobuild"} {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Fatal(err)
			}
			if name != missing {
				if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd := exec.Command("rsync/promo-pull", args...)
		cmd.Env = append(os.Environ(), "PATH="+dir)
		if out, err := cmd.CombinedOutput(); err == nil || string(out) != "promo-pull: "+missing+" is not installed\n" {
			t.Errorf("without %s: %v: %s", missing, err, out)
		}
	}
}

// TestPullOfUnreadableFile checks that a pull fails if a generation cannot be read,
// after it has published the others.
func TestPullOfUnreadableFile(t *testing.T) {
	m := newMirror(t)
	bad, _ := m.publish(t, 0)
	good, _ := m.publish(t, 1)
	if err := os.Chmod(bad, 0o200); err != nil { // the daemon is not root
		t.Fatal(err)
	}
	m.pullFails(t, "rsync exited with 23; 1 of 2 generations arrived")
	m.wantFiles(t, good)
	if err := os.Chmod(m.source, 0o300); err != nil {
		t.Fatal(err)
	}
	m.pullFails(t, "Permission denied")
	m.wantFiles(t, good)
	if err := errors.Join(os.Chmod(m.source, 0o755), os.Chmod(bad, 0o644)); err != nil {
		t.Fatal(err)
	}
	m.pull(t)
	m.wantFiles(t, bad, good)
}

// TestPullKilled kills pulls at several offsets. The server must not refuse
// anything, and the next pull must remove the temporary files.
func TestPullKilled(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	second, generation := m.publish(t, 1)
	size := fileSize(t, second)
	for i := range int64(6) {
		p, _ := m.pullHeld(t, second, i*size/8)
		out, err := exec.Command("rsync/promo-pull", m.command(t, "2")...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another pull") {
			t.Errorf("a second pull at the same time: %v: %s", err, out)
		}
		p.stop(syscall.SIGKILL)
		if left := m.hidden(t, ".incoming/.*"); len(left) != 1 {
			t.Errorf("after pull %d there are %q", i, left)
		}
	}
	if n := refused(t, s); n != 0 {
		t.Errorf("%d generations were refused", n)
	}
	m.pull(t)
	waitLive(t, s.url, generation)
	m.wantFiles(t, first, second)
}

// TestStoppedPullResumes checks that a pull continues from the partial file of a
// pull that was stopped.
func TestStoppedPullResumes(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	size := fileSize(t, path)
	stopHeld(m.pullHeld(t, path, size/2))
	partial := filepath.Join(m.data, ".incoming/.partial", filepath.Base(path))
	waitFor(t, "the part is kept", func() bool {
		info, err := os.Stat(partial)
		return err == nil && info.Size() >= size/2
	})
	if left := m.hidden(t, ".incoming/.promotions*"); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
	if n := m.pullCounting(t); n == 0 || n > size*6/10 {
		t.Errorf("the rest of a file of %d bytes has %d", size, n)
	}
	m.wantFiles(t, path)
	run(t, program(t, "promobuild"), "verify", m.data)
}

// TestPartialUnderFinalName checks that a server refuses a partial file, which
// rsync --partial leaves under the final name, and that the next pull replaces it.
func TestPartialUnderFinalName(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	second, generation := m.publish(t, 1)
	var p *process
	release := m.hold(t, 1<<20, func() {
		p = start(t, "rsync", "--times", "--partial", m.password, m.url+"/"+filepath.Base(second), m.data)
	})
	m.waitSome(t, "."+filepath.Base(second)+".??????", 1<<20)
	stopHeld(p, release)
	waitFor(t, "the part is refused", func() bool { return refused(t, s) == 1 })
	if size := fileSize(t, m.copyOf(second)); size >= fileSize(t, second) {
		t.Fatalf("the part has %d bytes", size)
	}
	m.pull(t)
	waitLive(t, s.url, generation)
	m.wantFiles(t, first, second)
}

// TestPullDamaged checks that a file that is damaged on one of the two disks is not
// served, and that a pull with --checksum replaces it, as does any pull after the
// file is removed.
func TestPullDamaged(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	second, generation := m.publish(t, 1)

	flip(t, second)
	m.pull(t)
	waitFor(t, "the damaged file is refused", func() bool { return refused(t, s) == 1 })
	flip(t, second)
	m.pull(t, "--checksum")
	waitLive(t, s.url, generation)

	flip(t, m.copyOf(second))
	m.pull(t, "--checksum")
	waitLive(t, s.url, generation)

	flip(t, m.copyOf(second))
	if err := os.Remove(m.copyOf(second)); err != nil {
		t.Fatal(err)
	}
	m.pull(t)
	waitLive(t, s.url, generation)
	m.wantFiles(t, first, second)
	run(t, program(t, "promobuild"), "verify", m.data)
}

// TestPullCorruptedInTransit flips a bit in transit. rsync must detect it, and the
// server must not refuse anything.
func TestPullCorruptedInTransit(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	second, generation := m.publish(t, 1)

	direct := m.url
	changed := m.pullOver(t, fileSize(t, second)/2, func(b []byte) bool {
		b[0] ^= 1
		return true
	})
	out, err := exec.Command("rsync/promo-pull", m.command(t, "2")...).CombinedOutput()
	if !changed.Load() {
		t.Fatalf("nothing was changed in transit: %v: %s", err, out)
	}
	if err == nil {
		waitLive(t, s.url, generation) // rsync has sent the data again
	}
	m.url = direct
	m.pull(t)
	waitLive(t, s.url, generation)
	m.wantFiles(t, first, second)
	if n := refused(t, s); n != 0 {
		t.Errorf("%d generations were refused", n)
	}
}

// TestInterruptedPullResumes checks that a pull fails if its connection breaks, and
// that the next pull continues from the partial file.
func TestInterruptedPullResumes(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	size := fileSize(t, path)
	direct := m.url
	cut := m.pullOver(t, size/2, func([]byte) bool { return false })
	out, err := exec.Command("rsync/promo-pull", m.command(t, "2")...).CombinedOutput()
	if err == nil || !cut.Load() {
		t.Fatalf("a pull without a connection: %v: %s", err, out)
	}
	m.url = direct
	if n := m.pullCounting(t); n == 0 || n > size*6/10 {
		t.Errorf("the rest of a file of %d bytes has %d", size, n)
	}
	m.wantFiles(t, path)
}

// TestPullPruned checks pulls of generations that the building node prunes
// meanwhile.
func TestPullPruned(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	seed := uint64(1)
	for _, c := range []struct {
		name   string
		pruned int // of the two new ones
	}{{"in transit", 0}, {"before its transfer", 1}} {
		t.Run(c.name, func(t *testing.T) {
			var paths [2]string
			for i := range paths {
				paths[i], _ = m.publish(t, seed)
				seed++
			}
			p, release := m.pullHeld(t, paths[0], 1<<20)
			if err := os.Remove(paths[c.pruned]); err != nil {
				t.Fatal(err)
			}
			release()
			<-p.exited
			if code := p.ProcessState.ExitCode(); code != 0 {
				t.Errorf("the pull ends with %d", code)
			}
			want := []string{paths[0], paths[1]}
			if c.pruned == 1 {
				want = []string{first, paths[0]}
			}
			waitLive(t, s.url, idOf(t, want[1]))
			m.wantFiles(t, want...)
			first = want[1]
		})
	}
	// The partial file of a pruned generation is removed.
	gone, _ := m.publish(t, seed)
	stopHeld(m.pullHeld(t, gone, 1<<20))
	waitFor(t, "the part is kept", func() bool { return len(m.hidden(t, ".incoming/.partial/*")) == 1 })
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	m.pull(t)
	if left := m.hidden(t, ".incoming"); len(left) > 0 {
		t.Errorf("there are %q", left)
	}
}

// TestPullCopiesPin checks that pulls copy the pin, the pinned generation and the
// removal of the pin, also during the transfer of a generation.
func TestPullCopiesPin(t *testing.T) {
	m := newMirror(t)
	promobuild := program(t, "promobuild")
	var paths, generations []string
	for seed := range uint64(3) {
		path, generation := m.publish(t, seed)
		paths, generations = append(paths, path), append(generations, generation)
	}
	pin := filepath.Join(m.data, "promotions.pin")
	run(t, promobuild, "pin", generations[0], "--data", m.source, "--reason", "a test")
	m.pull(t)
	m.wantFiles(t, paths[0], paths[1], paths[2], pin) // the pinned generation is not one of the two newest
	s := m.serve(t)
	waitLive(t, s.url, generations[0])

	run(t, promobuild, "unpin", "--data", m.source)
	m.pull(t)
	waitLive(t, s.url, generations[2])
	m.wantFiles(t, paths[1], paths[2], pin)

	// The pin arrives before the end of the transfer of a generation.
	next, generation := m.publish(t, 3)
	p, release := m.pullHeld(t, next, 1<<20)
	run(t, promobuild, "pin", generations[1], "--data", m.source)
	waitLive(t, s.url, generations[1])
	if _, err := os.Stat(m.copyOf(next)); err == nil {
		t.Error("the pin arrived after the generation")
	}
	release()
	<-p.exited
	m.wantFiles(t, paths[1], paths[2], next, pin)
	run(t, promobuild, "unpin", "--data", m.source)
	m.pull(t)
	waitLive(t, s.url, generation)

	// A generation that was rolled back during its pull never becomes live.
	last, gone := m.publish(t, 4)
	p, release = m.pullHeld(t, last, 1<<20)
	run(t, promobuild, "pin", generations[2], "--data", m.source)
	release()
	<-p.exited
	waitLive(t, s.url, generations[2])
	run(t, promobuild, "pin", gone, "--data", m.source)
	m.pull(t)
	waitLive(t, s.url, gone)
	want := []string{generations[0], generations[2], generations[1], generation, generations[2], gone}
	if live := s.lives(t); !slices.Equal(live, want) {
		t.Errorf("the live generations were %q, want %q", live, want)
	}
}

// TestPullReleasesPin checks that a pin until a newer generation ends on the node
// that pulls: its server follows the newer generation, and pulls remove the pinned
// one and do not fetch it again.
func TestPullReleasesPin(t *testing.T) {
	m := newMirror(t)
	promobuild := program(t, "promobuild")
	var paths, generations []string
	publish := func() {
		path, generation := m.publish(t, uint64(len(paths)))
		paths, generations = append(paths, path), append(generations, generation)
	}
	for range 3 {
		publish()
	}
	run(t, promobuild, "pin", generations[0], "--until-newer", "--data", m.source)
	m.pull(t)
	pin := filepath.Join(m.data, "promotions.pin")
	m.wantFiles(t, paths[0], paths[1], paths[2], pin)
	s := m.serve(t)
	waitLive(t, s.url, generations[0])
	m.pull(t)
	m.wantFiles(t, paths[0], paths[1], paths[2], pin)

	publish()
	m.pull(t)
	waitLive(t, s.url, generations[3])
	m.wantFiles(t, paths[2], paths[3], pin)
	if n := m.pullCounting(t); n > 100_000 {
		t.Errorf("a pull without news transfers %d bytes", n)
	}
	m.wantFiles(t, paths[2], paths[3], pin)
}

// slowPin replaces rsync. Its second transfer of the pin, the first during the
// transfer of files, ends after that of the files. It records in STATE if another
// transfer of the pin begins meanwhile.
const slowPin = `#!/bin/bash
rsync=$(type -ap rsync | sed -n 2p)
await() { until [[ -e $STATE/$1 ]]; do sleep 0.1; done; }
case "$*" in
*--files-from*)
	await second
	"$rsync" "$@"
	touch "$STATE/arrived"
	;;
*promotions.pin*)
	mkdir "$STATE/busy" 2>/dev/null || touch "$STATE/overlap"
	mkdir "$STATE/first" 2>/dev/null || { touch "$STATE/second"; await arrived; sleep 1; }
	"$rsync" "$@"
	rmdir --ignore-fail-on-non-empty "$STATE/busy"
	;;
*) exec "$rsync" "$@" ;;
esac
`

// TestPinsArriveInOrder checks that transfers of the pin do not overlap, so that an
// old pin cannot replace a newer one.
func TestPinsArriveInOrder(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	args := m.command(t, "2")
	dir, state := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rsync"), []byte(slowPin), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("STATE", state)
	run(t, "rsync/promo-pull", args...)
	m.wantFiles(t, path)
	if _, err := os.Stat(filepath.Join(state, "overlap")); err == nil {
		t.Error("two transfers of the pin ran at the same time")
	}
	if _, err := os.Stat(filepath.Join(state, "second")); err != nil {
		t.Error("the pin was not transferred during the transfer of files")
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

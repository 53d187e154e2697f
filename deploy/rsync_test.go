//go:build system

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

// pullRows make a file of 6.5 MB: more than the kernel keeps of what a line holds
// back, so that the daemon does not get to the next file.
const pullRows = 200_000

// A mirror is a building node, whose rsync daemon has the configuration of
// deploy/rsync, and a serving node that pulls from it.
type mirror struct {
	source, data string // directories
	address, url string // of the daemon
	password     string // --password-file=…

	tables
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

// publish makes a generation of the table of a seed on the building node.
func (m *mirror) publish(t *testing.T, seed uint64) (path, generation string) {
	t.Helper()
	path = build(t, m.source, seed, pullRows)
	generation = idOf(t, path)
	m.add(generation, seed)
	return path, generation
}

// copyOf is where the serving node has a file of the building node.
func (m *mirror) copyOf(path string) string { return filepath.Join(m.data, filepath.Base(path)) }

func (m *mirror) command(t *testing.T, keep string, options ...string) []string {
	t.Helper()
	t.Setenv("PATH", filepath.Dir(program(t, "promobuild"))+":"+os.Getenv("PATH"))
	return append([]string{m.url, m.data, keep, m.password}, options...)
}

// pull pulls to the end.
func (m *mirror) pull(t *testing.T, options ...string) {
	t.Helper()
	run(t, "rsync/promo-pull", m.command(t, "2", options...)...)
}

// pullCounting pulls to the end and returns how many bytes of files came over
// the network.
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
		t.Fatalf("rsync counts nothing: %s", out)
	}
	return sum
}

// pullHeld begins a pull, over a line that holds back what follows some of the
// file until release is called. It returns when that has arrived, under a hidden
// name.
func (m *mirror) pullHeld(t *testing.T, path string, some int64) (p *process, release func()) {
	t.Helper()
	release = m.hold(t, some, func() { p = start(t, "rsync/promo-pull", m.command(t, "2")...) })
	m.waitSome(t, ".incoming/."+filepath.Base(path)+".??????", some)
	return p, release
}

// stopHeld tells a pull that is held to stop. What is held is released then: rsync
// says goodbye to the daemon, and waits half a minute for its answer.
func stopHeld(p *process, release func()) {
	p.signal(syscall.SIGTERM)
	release()
	<-p.exited
}

// hold has what begin starts pull over a line that holds back what follows some
// of a file.
func (m *mirror) hold(t *testing.T, some int64, begin func()) (release func()) {
	t.Helper()
	const buffer = 512 << 10 // what rsync has and has not written yet is less
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

// pullOver has pulls reach the daemon over a line that once, at an offset of what
// the daemon says, calls at with what comes next, and hangs up if that says so.
// It returns whether that was.
func (m *mirror) pullOver(t *testing.T, offset int64, at func([]byte) bool) (was *atomic.Bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	m.url = strings.Replace(m.url, m.address, ln.Addr().String(), 1)
	was = new(atomic.Bool)
	pass := func(client, daemon net.Conn) {
		defer client.Close()
		b := make([]byte, 32<<10)
		for rest := offset; ; {
			n, err := daemon.Read(b)
			before := b[:min(max(rest, 0), int64(n))]
			_, werr := client.Write(before)
			rest -= int64(n)
			if len(before) < n {
				if was.CompareAndSwap(false, true) && !at(b[len(before):n]) {
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
	return was
}

func (m *mirror) hidden(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.data, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// wantFiles checks what a pull that is done has left on the serving node.
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
		if name := e.Name(); name != ".lock" && name != ".pull.lock" {
			got = append(got, name)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the serving node has %q, want %q", got, want)
	}
}

// serve serves what the node has, and until the test ends asks for rows of all
// tables. No request may fail, and each must have the answer of the generation
// that it names.
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

// flip changes one bit in the middle of a file, and neither its length nor its
// time: as a disk does. It makes another file of it, for a server that has the
// good one open has found it good.
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

// refused counts the generations that the server has refused.
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

// The daemon gives generations and the pin to who knows the password, and
// nothing else to anybody.
func TestRsyncDaemon(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	for _, name := range []string{"secret.txt", ".promotions.tmp", "promotions.csv"} {
		if err := os.WriteFile(filepath.Join(m.source, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := run(t, "rsync", m.password, m.url+"/")
	if !strings.Contains(list, filepath.Base(path)) || len(strings.Split(strings.TrimSpace(list), "\n")) != 2 { // and "."
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
		{"the way out", []string{m.password, m.url + "/../../etc/passwd", t.TempDir()}, "failed"},
	} {
		out, err := exec.Command("rsync", c.args...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
	}
	if out := run(t, "rsync", modules+"/"); strings.TrimSpace(out) != "" {
		t.Errorf("the daemon tells of the modules %s", out)
	}
}

func TestPull(t *testing.T) {
	m := newMirror(t)
	m.pull(t) // there is nothing yet
	m.wantFiles(t)
	var paths []string
	for seed := range uint64(4) {
		path, _ := m.publish(t, seed)
		paths = append(paths, path)
	}
	m.pull(t)
	m.wantFiles(t, paths[2:]...)
	before, err := os.Stat(m.copyOf(paths[2]))
	if err != nil {
		t.Fatal(err)
	}

	// What was pruned here does not come back, and what is here stays as it is.
	if n := m.pullCounting(t); n != 0 {
		t.Errorf("a pull of what is here brings %d bytes", n)
	}
	m.wantFiles(t, paths[2:]...)
	if after, err := os.Stat(m.copyOf(paths[2])); err != nil || !os.SameFile(before, after) {
		t.Errorf("a pull made another file of what was here, %v", err)
	}

	// A building node that has lost everything empties nobody.
	for _, path := range paths {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	m.pull(t)
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

// A pull that is killed, again and again, wherever it is, does no harm, and
// what it leaves is gone after one that is not.
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
			t.Errorf("two pulls at a time: %v: %s", err, out)
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

// A pull that is told to stop goes on where it was.
func TestPullStopped(t *testing.T) {
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

// rsync --partial leaves the part of a file under its final name. The server
// does not take it, and the next pull replaces it.
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

// A file that is damaged on one of the two disks is not served, the one before
// it is, and a pull with --checksum brings the good one again, as any pull does
// once the damaged one is removed.
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

// A bit that flips on the way, in the middle of a file: rsync notices, and what
// it has got does not go live.
func TestPullCorruptedOnTheWay(t *testing.T) {
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
		t.Fatalf("nothing was changed on the way: %v: %s", err, out)
	}
	if err == nil {
		waitLive(t, s.url, generation) // what was wrong was sent again
	}
	m.url = direct
	m.pull(t)
	waitLive(t, s.url, generation)
	m.wantFiles(t, first, second)
	if n := refused(t, s); n != 0 {
		t.Errorf("%d generations were refused", n)
	}
}

// A pull whose connection breaks says so, and the next goes on where it was.
func TestPullCutOff(t *testing.T) {
	m := newMirror(t)
	path, _ := m.publish(t, 0)
	size := fileSize(t, path)
	direct := m.url
	cut := m.pullOver(t, size/2, func([]byte) bool { return false })
	out, err := exec.Command("rsync/promo-pull", m.command(t, "2")...).CombinedOutput()
	if err == nil || !cut.Load() {
		t.Fatalf("a pull that was cut off: %v: %s", err, out)
	}
	m.url = direct
	if n := m.pullCounting(t); n == 0 || n > size*6/10 {
		t.Errorf("the rest of a file of %d bytes has %d", size, n)
	}
	m.wantFiles(t, path)
}

// Generations that the building node prunes during a pull.
func TestPullPruned(t *testing.T) {
	m := newMirror(t)
	first, _ := m.publish(t, 0)
	m.pull(t)
	s := m.serve(t)
	seed := uint64(1)
	for _, c := range []struct {
		name   string
		pruned int // of the two new ones
	}{{"on its way", 0}, {"before its turn", 1}} {
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
	// A part of what is pruned before it has arrived is of no use any more.
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

// A pin travels, also while a generation is on its way, and so do the pinned
// generation and what takes the pin away.
func TestPinTravels(t *testing.T) {
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
	m.wantFiles(t, paths[0], paths[1], paths[2], pin) // the pinned one is not among the two newest
	s := m.serve(t)
	waitLive(t, s.url, generations[0])

	run(t, promobuild, "unpin", "--data", m.source)
	m.pull(t)
	waitLive(t, s.url, generations[2])
	m.wantFiles(t, paths[1], paths[2], pin)

	// While a generation arrives, which takes longer than the pin may.
	next, generation := m.publish(t, 3)
	p, release := m.pullHeld(t, next, 1<<20)
	run(t, promobuild, "pin", generations[1], "--data", m.source)
	waitLive(t, s.url, generations[1])
	if _, err := os.Stat(m.copyOf(next)); err == nil {
		t.Error("the pin came behind the generation")
	}
	release()
	<-p.exited
	m.wantFiles(t, paths[1], paths[2], next, pin)
	run(t, promobuild, "unpin", "--data", m.source)
	m.pull(t)
	waitLive(t, s.url, generation)

	// At the end of a pull: what was gone back from is not live for a moment.
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
		t.Errorf("live were, one after the other, %q, want %q", live, want)
	}
}

// slowPin is an rsync whose second transfer of the pin, the first beside that of
// files, ends after these. It notes in STATE if another begins meanwhile.
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

// An old pin that arrives late does not replace a newer one: of the transfers
// of the pin one follows the other.
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
		t.Error("the pin did not come beside the files")
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

//go:build system

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
)

// publishShards writes a generation without a build on the building node and
// returns the paths of its files.
func (m *mirror) publishShards(t *testing.T, s format.Sharding) (paths []string) {
	t.Helper()
	id := generation.IDOf(time.Now())
	if list, err := generation.List(m.source); err != nil || len(list) > 0 {
		id = max(id, list[len(list)-1].ID+1)
	}
	return gentest.PublishSharded(t, m.source, id, s, gentest.Scattered(20_000))
}

// owned returns those of the files of a generation that servers of some digits need.
func owned(paths []string, rule format.ShardRule, digits string) (files []string) {
	s := format.Sharding{Rule: rule, Shards: uint32(len(paths))}
	for shard, path := range paths {
		if len(paths) == 1 || strings.ContainsRune(digits, rune("0123456789abcdef"[s.Digit(uint32(shard))])) {
			files = append(files, path)
		}
	}
	return files
}

// TestPullDigits checks that a node pulls the shards of its digits, whatever the
// sharding rule is, and all of an unsharded generation, and that it keeps the
// newest generations.
func TestPullDigits(t *testing.T) {
	m := newMirror(t)
	nodes := map[*mirror]string{ // to every single digit
		m:                    "0123456789abcdef",
		m.node(t, "4-7"):     "4567",
		m.node(t, "B,2,d-e"): "2bde",
	}
	had := map[*mirror][]string{}
	for _, s := range []format.Sharding{{Rule: format.ShardFirst, Shards: 16}, {Rule: format.ShardFirst, Shards: 32},
		{Rule: format.ShardLast, Shards: 64}, format.Unsharded} {
		paths := m.publishShards(t, s)
		for n, digits := range nodes {
			want := owned(paths, s.Rule, digits)
			n.pull(t)
			n.wantFiles(t, append(had[n], want...)...)
			had[n] = want
			if sent := n.pullCounting(t); sent != 0 {
				t.Errorf("digits %q, %d shards by %s digit: a pull without changes sends %d bytes", n.digits, s.Shards, s.Rule, sent)
			}
		}
	}
	for _, digits := range []string{",", "7-0", "g", "0-", "00", "0-f-"} {
		cmd := exec.Command("rsync/promo-pull", m.command(t, "2")...)
		cmd.Env = append(os.Environ(), "PROMO_DIGITS="+digits)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "promo-pull: PROMO_DIGITS: ") {
			t.Errorf("digits %q: %v: %s", digits, err, out)
		}
	}
}

// TestPullIgnoresIncompleteGenerations checks that a generation that lacks a file at
// the source is not pulled, and does not count as one of the newest.
func TestPullIgnoresIncompleteGenerations(t *testing.T) {
	m := newMirror(t)
	first := m.publishShards(t, format.Unsharded)
	shards := format.Sharding{Rule: format.ShardLast, Shards: 16}
	second, third := m.publishShards(t, shards), m.publishShards(t, shards)
	hidden := filepath.Join(m.source, ".hidden")
	if err := os.Rename(third[9], hidden); err != nil {
		t.Fatal(err)
	}
	half := m.node(t, "0-7") // does not need the missing file
	m.pull(t)
	m.wantFiles(t, append(first, second...)...)
	half.pull(t)
	half.wantFiles(t, append(first, second[:8]...)...)
	if err := os.Rename(hidden, third[9]); err != nil {
		t.Fatal(err)
	}
	m.pull(t)
	m.wantFiles(t, append(second, third...)...)
	half.pull(t)
	half.wantFiles(t, append(second[:8:8], third[:8]...)...)
}

// TestPullSkipsGenerationsThatPruneRemoves checks that a node does not copy an old
// generation again and again after the source has lost a newer one.
func TestPullSkipsGenerationsThatPruneRemoves(t *testing.T) {
	m := newMirror(t)
	n := m.node(t, "4-7")
	var paths [3][]string
	for i := range paths {
		paths[i] = m.publishShards(t, format.Sharding{Rule: format.ShardLast, Shards: 32})
		n.pull(t)
	}
	if err := os.Remove(paths[2][0]); err != nil {
		t.Fatal(err)
	}
	if sent := n.pullCounting(t); sent != 0 {
		t.Errorf("the pull sends %d bytes", sent)
	}
	n.wantFiles(t, append(owned(paths[1], format.ShardLast, "4567"), owned(paths[2], format.ShardLast, "4567")...)...)
}

// TestPullOfUnreadableShard checks that a generation of which a file cannot be read
// is not published on a node that needs the file, and that it arrives later without
// transferring the other files again.
func TestPullOfUnreadableShard(t *testing.T) {
	m := newMirror(t)
	first := m.publishShards(t, format.Sharding{Rule: format.ShardFirst, Shards: 16})
	second := m.publishShards(t, format.Sharding{Rule: format.ShardFirst, Shards: 64})
	if err := os.Chmod(second[20], 0o200); err != nil { // the daemon is not root
		t.Fatal(err)
	}
	half, other := m.node(t, "0-7"), m.node(t, "8-f")
	half.pullFails(t, "rsync exited with 23; 1 of 2 generations arrived")
	half.wantFiles(t, append([]string{filepath.Join(m.data, ".incoming")}, first[:8]...)...)
	other.pull(t)
	other.wantFiles(t, append(first[8:16:16], second[32:]...)...)
	if err := os.Chmod(second[20], 0o644); err != nil {
		t.Fatal(err)
	}
	if n := half.pullCounting(t); n != fileSize(t, second[20]) {
		t.Errorf("the pull of one file of %d bytes transfers %d", fileSize(t, second[20]), n)
	}
	half.wantFiles(t, append(first[:8:8], second[:32]...)...)
}

// TestPullShardsKilled kills pulls of a sharded generation during the transfer of
// its files. No file of it may be in the directory, and the next pull must not
// transfer the arrived files again.
func TestPullShardsKilled(t *testing.T) {
	base := newMirror(t)
	m := base.node(t, "8-f")
	base.publish(t, 0, "--shards", "16")
	first := newest(t, m.source).Files[8:]
	m.pull(t)
	base.publish(t, 1, "--shards", "16")
	second := newest(t, m.source).Files[8:]
	size := int64(0)
	for _, path := range second {
		size += fileSize(t, path)
	}
	var p *process
	release := m.hold(t, size/2, func() { p = start(t, "rsync/promo-pull", m.command(t, "2")...) })
	waitFor(t, "some files have arrived", func() bool { return len(m.hidden(t, ".incoming/promotions-*")) > 2 })
	p.stop(syscall.SIGKILL)
	release()
	entries, err := filepath.Glob(filepath.Join(m.data, "promotions-*.pgen"))
	if err != nil || len(entries) != len(first) {
		t.Errorf("after a killed pull there are %q, %v", entries, err)
	}
	if n := m.pullCounting(t); n == 0 || n > size*3/4 {
		t.Errorf("the rest of files of %d bytes has %d", size, n)
	}
	m.wantFiles(t, append(first, second...)...)
}

// TestPullOfPrunedShards checks that a pull publishes nothing of a generation whose
// files the building node removes during the transfer.
func TestPullOfPrunedShards(t *testing.T) {
	m := newMirror(t)
	m.publish(t, 0, "--shards", "16")
	first := newest(t, m.source).Files
	m.pull(t)
	m.publish(t, 1, "--shards", "16")
	second := newest(t, m.source).Files
	var p *process
	release := m.hold(t, fileSize(t, second[0]), func() { p = start(t, "rsync/promo-pull", m.command(t, "2")...) })
	waitFor(t, "a file has arrived", func() bool { return len(m.hidden(t, ".incoming/promotions-*")) > 0 })
	for _, path := range second {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	release()
	<-p.exited
	if code := p.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the pull ends with %d", code)
	}
	m.wantFiles(t, first...)
}

// stoppingMV replaces mv. It moves a summary, and some of several files, calls KILL with the process id of
// promo-pull, and does not return.
const stoppingMV = `#!/bin/bash
mv=$(type -ap mv | sed -n 2p)
[[ $* != *.summary.json* ]] || exec "$mv" "$@"
"$mv" "${@:1:7}"
kill -KILL $PPID
`

// TestPullKilledBetweenRenames kills a pull after it has renamed some of the files of
// a generation. The server must go on with the previous generation and refuse
// nothing, and the next pull must complete the generation.
func TestPullKilledBetweenRenames(t *testing.T) {
	base := newMirror(t)
	m := base.node(t, "0-7")
	_, previous := base.publish(t, 0, "--shards", "16")
	first := newest(t, m.source).Files[:8]
	m.pull(t)
	s := serve(t, m.data, "--digits", "0-7")
	waitLive(t, s.url, previous)
	_, next := base.publish(t, 1, "--shards", "16")
	second := newest(t, m.source).Files[:8]

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mv"), []byte(stoppingMV), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("rsync/promo-pull", m.command(t, "2")...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("the pull was not killed: %s", out)
	}
	if part, err := filepath.Glob(filepath.Join(m.data, "promotions-"+next+"-*")); err != nil || len(part) != 5 {
		t.Fatalf("the killed pull has renamed %q, %v", part, err)
	}
	waitFor(t, "the server sees the part", func() bool {
		a, err := get(s.url + "/status")
		return err == nil && strings.Contains(a.body, next)
	})
	if a, err := get(s.url + "/promotions/" + id(0)); err != nil || a.generation != previous {
		t.Errorf("with a part of the generation: %v, %v", a, err)
	}
	waitFor(t, "the killed pull has released its lock", func() bool { // its children end a little later
		return exec.Command("flock", "--nonblock", filepath.Join(m.data, ".pull.lock"), "true").Run() == nil
	})
	m.pull(t)
	waitLive(t, s.url, next)
	m.wantFiles(t, append(first, second...)...)
	if n := refused(t, s); n != 0 {
		t.Errorf("%d generations were refused", n)
	}
}

// watchingMV replaces mv. It writes the names in the directory to the file LOG
// before and after each call.
const watchingMV = `#!/bin/bash
mv=$(type -ap mv | sed -n 2p)
look() { (cd "$2" && echo promotions-*) >>"$LOG"; }
look "$@"
"$mv" "$@"
look "$@"
`

// TestPullReplacesShards checks that a generation is incomplete while its files are
// replaced, so that no server mixes files of two transfers.
func TestPullReplacesShards(t *testing.T) {
	m := newMirror(t)
	paths := m.publishShards(t, format.Sharding{Rule: format.ShardLast, Shards: 16})
	m.pull(t)
	for _, shard := range []int{3, 7, 12} {
		flip(t, m.copyOf(paths[shard]))
	}
	log, dir := filepath.Join(t.TempDir(), "log"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mv"), []byte(watchingMV), 0o755); err != nil {
		t.Fatal(err)
	}
	args := m.command(t, "2", "--checksum")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("LOG", log)
	run(t, "rsync/promo-pull", args...)
	var got []int // numbers of files
	for line := range strings.Lines(readFile(t, log)) {
		got = append(got, len(strings.Fields(line)))
	}
	if want := []int{15, 15, 15, 16}; !slices.Equal(got, want) {
		t.Errorf("around the renames there are %d files, want %d", got, want)
	}
	m.wantFiles(t, paths...)
	run(t, program(t, "promobuild"), "verify", m.data)
}

// TestPullPrunesShards checks that a node that has only some shards removes whole
// generations, and counts those whose shards of its digits are all there.
func TestPullPrunesShards(t *testing.T) {
	m := newMirror(t).node(t, "c-f")
	var files [][]string
	publish := func() {
		files = append(files, m.publishShards(t, format.Sharding{Rule: format.ShardFirst, Shards: 64})[48:])
	}
	for range 4 {
		publish()
		m.pull(t)
	}
	m.wantFiles(t, slices.Concat(files[2:]...)...)
	// A damaged file on the serving node: its generation does not count.
	flip(t, m.copyOf(files[3][5]))
	publish()
	m.pull(t)
	m.wantFiles(t, slices.Concat(files[2:]...)...)
	list, err := generation.List(m.data)
	if err != nil || len(list) != 3 {
		t.Errorf("the node has %v, %v", list, err)
	}
	out := run(t, program(t, "promobuild"), "prune", "--dry-run", "--keep", "1", "--digits", "c-f", "--data", m.data)
	for _, removed := range list[:2] {
		if want := fmt.Sprintf("would remove %s", removed.ID); !strings.Contains(out, want) {
			t.Errorf("prune prints no %q:\n%s", want, out)
		}
	}
}

// TestPullReleasesPinOfShards is like TestPullReleasesPin, for a node of some digits.
func TestPullReleasesPinOfShards(t *testing.T) {
	m := newMirror(t).node(t, "8-b")
	var files [][]string
	var generations []string
	publish := func() {
		paths := m.publishShards(t, format.Sharding{Rule: format.ShardLast, Shards: 64})
		files = append(files, owned(paths, format.ShardLast, "89ab"))
		generations = append(generations, idOf(t, paths[0]))
	}
	for range 3 {
		publish()
	}
	pin := []string{filepath.Join(m.data, "promotions.pin")}
	run(t, program(t, "promobuild"), "pin", generations[0], "--until-newer", "--data", m.source)
	m.pull(t)
	m.wantFiles(t, slices.Concat(files[0], files[1], files[2], pin)...) // the pinned generation is not one of the two newest
	s := serve(t, m.data, "--digits", m.digits)
	waitLive(t, s.url, generations[0])

	publish()
	m.pull(t)
	waitLive(t, s.url, generations[3])
	m.wantFiles(t, slices.Concat(files[2], files[3], pin)...)
	if n := m.pullCounting(t); n > 100_000 {
		t.Errorf("a pull without news transfers %d bytes", n)
	}
	m.wantFiles(t, slices.Concat(files[2], files[3], pin)...)
}

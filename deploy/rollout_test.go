//go:build system

package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"promostore/format/generation"
)

// A rollout is an installation with two groups of two nodes. Clients look up
// promotions on every server until the test ends.
type rollout struct {
	*mirror
	nodes       []*rolloutNode
	generations []string // in the order in which they are published
}

// A rolloutNode is a serving node. Generations are indexes of rollout.generations.
type rolloutNode struct {
	*mirror
	server *server
	name   string
	pull   []string     // the command
	latest atomic.Int64 // the newest generation that clients may see, unless a pin allows a newer one
	seen   atomic.Int64 // the newest generation that a client has seen
	asked  atomic.Int64 // number of requests
}

// newRollout publishes a generation, and returns when all servers serve it.
func newRollout(t *testing.T, flags ...string) *rollout {
	t.Helper()
	r := &rollout{mirror: newMirror(t)}
	r.publish(t, flags...)
	for i := range 4 {
		n := &rolloutNode{mirror: r.node(t, []string{"0-7", "8-f"}[i/2]), name: fmt.Sprintf("node%d", i+1)}
		pull, err := filepath.Abs("rsync/promo-pull")
		if err != nil {
			t.Fatal(err)
		}
		n.pull = append([]string{"env", "PROMO_DIGITS=" + n.digits, "flock", filepath.Join(t.TempDir(), "lock"), pull}, n.command(t, "2")...)
		r.pull(t, n)
		n.server = serve(t, n.data, "--digits", n.digits)
		waitLive(t, n.server.url, r.generations[0])
		r.nodes = append(r.nodes, n)
	}
	var clients sync.WaitGroup
	end := make(chan struct{})
	for _, n := range r.nodes {
		for range 2 {
			clients.Go(func() {
				for ; ; n.asked.Add(1) {
					select {
					case <-end:
						return
					default:
					}
					if err := r.ask(n); err != nil {
						t.Errorf("%s: %v", n.name, err)
						return
					}
				}
			})
		}
	}
	t.Cleanup(func() {
		close(end)
		clients.Wait()
	})
	return r
}

// publish publishes a generation, the data set of which has its index as the seed.
func (r *rollout) publish(t *testing.T, flags ...string) (generation string) {
	t.Helper()
	_, generation = r.mirror.publish(t, uint64(len(r.generations)), flags...)
	r.generations = append(r.generations, generation)
	return generation
}

// ask looks up a promotion on a server of the group that owns it. It checks that
// the answer matches its generation, that the server may serve this generation
// already, and that no client has seen a newer one from it before.
func (r *rollout) ask(n *rolloutNode) error {
	seen := n.seen.Load()
	_, _, count := r.seedOf("")
	seed := rand.Uint64N(uint64(count))
	key := keys(seed).At(rand.Uint64N(minRows))
	for (key.Lo&15 < 8) != (n.digits == "0-7") {
		key = keys(seed).At(rand.Uint64N(minRows))
	}
	a, err := get(n.server.url + "/promotions/" + string(key.AppendText(nil, false)))
	if err != nil {
		return err
	}
	of, known, _ := r.seedOf(a.generation)
	want := http.StatusNotFound
	if of == seed {
		want = http.StatusOK
	}
	got := int64(of)
	switch {
	case !known || a.status != want:
		return fmt.Errorf("generation %q: status %d, want %d: %s", a.generation, a.status, want, a.body)
	case got > n.latest.Load():
		if pin, err := generation.ReadPin(r.source); err != nil || !pin.Active || pin.ID.String() != a.generation {
			return fmt.Errorf("an answer of generation %d before the server may change to it", got)
		}
	case got < seen:
		return fmt.Errorf("an answer of generation %d after one of generation %d", got, seen)
	}
	for seen < got && !n.seen.CompareAndSwap(seen, got) {
		seen = n.seen.Load()
	}
	return nil
}

// pull runs promo-pull on some nodes at the same time.
func (r *rollout) pull(t *testing.T, nodes ...*rolloutNode) {
	t.Helper()
	var pulls sync.WaitGroup
	for _, n := range nodes {
		pulls.Go(func() {
			if out, err := exec.Command(n.pull[0], n.pull[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", n.name, err, out)
			}
		})
	}
	pulls.Wait()
}

// awaitClients waits until clients have had answers of every server that they asked
// for after the call.
func (r *rollout) awaitClients(t *testing.T) {
	t.Helper()
	for _, n := range r.nodes {
		before := n.asked.Load()
		waitFor(t, "requests to "+n.name, func() bool { return t.Failed() || n.asked.Load() > before+20 })
	}
	if t.Failed() {
		t.FailNow()
	}
}

// verified reports whether the server of n has verified a generation that it does
// not serve.
func (n *rolloutNode) verified(generation string) bool {
	a, err := get(n.server.url + "/status")
	var status struct {
		Live, Newest string
		Verified     bool `json:"newest_verified"`
	}
	return err == nil && json.Unmarshal([]byte(a.body), &status) == nil && status.Verified && status.Newest == generation && status.Live != generation
}

// wantLives checks that every server has served all generations, in their order. It
// logs the time from the first to the last change to the newest.
func (r *rollout) wantLives(t *testing.T) {
	t.Helper()
	var first, last time.Time
	for _, n := range r.nodes {
		if live := n.server.lives(t); !slices.Equal(live, r.generations) {
			t.Errorf("%s served the generations %q, want %q", n.name, live, r.generations)
		}
		var line struct{ Time time.Time }
		if err := json.Unmarshal([]byte(n.server.line(t, `"generation live","generation":"`+r.generations[len(r.generations)-1])), &line); err != nil {
			t.Fatal(err)
		}
		if first.IsZero() || line.Time.Before(first) {
			first = line.Time
		}
		if line.Time.After(last) {
			last = line.Time
		}
	}
	t.Logf("all servers changed within %s", last.Sub(first))
}

// TestRolloutOverGroups checks that each server changes to a new generation with its
// own pull, also from an unsharded generation and back. For each shard no client
// sees the new generation before that, or the old one afterwards.
func TestRolloutOverGroups(t *testing.T) {
	r := newRollout(t)
	for _, flags := range [][]string{{"--shards", "16"}, {"--shards", "64"}, nil} {
		next := r.publish(t, flags...)
		for _, n := range r.nodes {
			n.latest.Add(1)
			r.pull(t, n)
			waitLive(t, n.server.url, next)
			r.awaitClients(t) // the other servers have not changed
		}
	}
	r.wantLives(t)
}

// oneSwitch returns the commands of docs/many-machines.md that change all groups at
// one moment.
func oneSwitch(t *testing.T) string {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "../docs/many-machines.md"), "### One switch on all groups\n")
	section, _, ended := strings.Cut(section, "\n#")
	if !found || !ended {
		t.Fatal("docs/many-machines.md has no section about one switch on all groups")
	}
	commands := "set -euo pipefail\n"
	for line := range strings.Lines(section) {
		if command, found := strings.CutPrefix(line, "    "); found {
			commands += command
		}
	}
	for old, replacement := range map[string]string{"/var/lib/promostore": `"$DATA"`, "sleep 5;": "sleep 0.1;"} {
		if !strings.Contains(commands, old) {
			t.Fatalf("the commands do not contain %q:\n%s", old, commands)
		}
		commands = strings.ReplaceAll(commands, old, replacement)
	}
	return commands
}

// TestOneSwitchOnAllGroups runs the commands of docs/many-machines.md, while the nodes
// pull. No client sees the new generation before the pin moves, and the pull of the
// pin, which copies nothing else, changes all servers.
func TestOneSwitchOnAllGroups(t *testing.T) {
	needs(t, "bash", "curl", "jq")
	r := newRollout(t, "--shards", "16")
	updater := startOpenUpdater(t, r.source, "--shards", "32")

	// The names of the nodes, and ssh to them.
	home := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	curlrc := "connect-to = localhost:1322:" + updater.address() + "\n"
	for _, n := range r.nodes {
		curlrc += "connect-to = " + n.name + ":1321:" + n.server.address() + "\n"
		write("pull-"+n.name, fmt.Sprintf("#!/bin/bash\nexec %s\n", quoted(n.pull)))
	}
	write(".curlrc", curlrc)
	write("ssh", `#!/bin/bash
[[ "${*:2}" == "systemctl start promo-pull" ]] && exec "$CURL_HOME/pull-$1"
`)
	if err := os.Rename(writeCSV(t, 1, pullRows), filepath.Join(home, "promotions.csv")); err != nil {
		t.Fatal(err)
	}

	script := exec.Command("bash", "-c", oneSwitch(t))
	script.Dir = home
	script.Env = append(os.Environ(), "CURL_HOME="+home, "DATA="+r.source, "PATH="+home+":"+os.Getenv("PATH"), "no_proxy=*")
	var output bytes.Buffer
	script.Stdout, script.Stderr = &output, &output
	if err := script.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- script.Wait() }()
	t.Cleanup(func() { _ = script.Process.Kill() })

	// The timers of the nodes, until all have the new generation.
	waitFor(t, "the commands publish a generation", func() bool {
		if next := newest(t, r.source); next.ID.String() != r.generations[0] && next.Complete() {
			r.generations = append(r.generations, next.ID.String())
			r.add(next.ID.String(), 1)
		}
		return len(r.generations) == 2
	})
	r.awaitClients(t)
	for _, n := range r.nodes {
		r.pull(t, n)
		if n != r.nodes[len(r.nodes)-1] { // the commands wait for the last one
			waitFor(t, n.name+" has verified the generation", func() bool { return t.Failed() || n.verified(r.generations[1]) })
			r.awaitClients(t)
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v: %s", err, &output)
		}
	case <-time.After(patience):
		t.Fatalf("the commands have not ended: %s", &output)
	}
	if n := strings.Count(output.String(), " wanted, 0 new"); n != len(r.nodes) {
		t.Errorf("%d nodes pulled the pin and nothing else:\n%s", n, &output)
	}
	for _, n := range r.nodes {
		waitLive(t, n.server.url, r.generations[1])
	}
	r.awaitClients(t)
	r.wantLives(t)
}

// quoted returns words as one text for a shell.
func quoted(words []string) string {
	var b strings.Builder
	for _, word := range words {
		b.WriteString(" '" + strings.ReplaceAll(word, "'", `'\''`) + "'")
	}
	return b.String()
}

// TestForeignIdsOfGroup checks that the servers of both groups say which digits they
// have.
func TestForeignIdsOfGroup(t *testing.T) {
	r := newRollout(t, "--shards", "16")
	for i := range uint64(32) {
		key := keys(0).At(i)
		for _, n := range r.nodes {
			a, err := get(n.server.url + "/promotions/" + string(key.AppendText(nil, false)))
			own := (key.Lo&15 < 8) == (n.digits == "0-7")
			if err != nil || own != (a.status == http.StatusOK) || !own && (a.status != http.StatusMisdirectedRequest || !strings.Contains(a.body, `"digits":"`+n.digits+`"`)) {
				t.Errorf("%s with the digits %s, %s: %v, %v", n.name, n.digits, key, a, err)
			}
		}
	}
}

// TestUpdaterFeedsGroups uploads a data set to an updater that divides it into
// shards, moves another one into its inbox, and pulls both to two groups. The files
// must be those of an ordinary build.
func TestUpdaterFeedsGroups(t *testing.T) {
	m := newMirror(t)
	inbox := t.TempDir()
	url := startOpenUpdater(t, m.source, "--shards", "16", "--keep", "2", "--inbox", inbox).url
	groups := []*mirror{m.node(t, "0-7"), m.node(t, "8-f")}

	// check pulls the newest generation and looks up promotions of a data set.
	var servers []*server
	check := func(seed uint64) {
		t.Helper()
		g := newest(t, m.source)
		if g.Shards != 16 || !g.Complete() {
			t.Fatalf("the updater published %v", g)
		}
		other := t.TempDir()
		build(t, other, seed, pullRows, "--shards", "16", "--generation", g.ID.String())
		for _, path := range g.Files {
			if readFile(t, path) != readFile(t, filepath.Join(other, filepath.Base(path))) {
				t.Errorf("%s has other bytes than an ordinary build of the data set", path)
			}
		}
		for i, group := range groups {
			group.pull(t)
			if len(servers) < len(groups) {
				servers = append(servers, serve(t, group.data, "--digits", group.digits))
			}
			waitLive(t, servers[i].url, g.ID.String())
		}
		for i := range uint64(200) {
			key := keys(seed).At(i)
			a, err := get(servers[key.Lo&15/8].url + "/promotions/" + string(key.AppendText(nil, false)))
			if err != nil || a.status != http.StatusOK || a.generation != g.ID.String() {
				t.Fatalf("%s: %v, %v", key, a, err)
			}
		}
	}
	upload(t, url, "", 0)
	check(0)
	if err := os.Rename(writeCSV(t, 1, pullRows), filepath.Join(inbox, "promotions.csv")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the file of the inbox is published", func() bool {
		list, err := generation.List(m.source)
		return err == nil && len(list) == 2 && list[1].Complete()
	})
	check(1)
	upload(t, url, "", 2)
	check(2)
	for _, dir := range []string{m.source, groups[0].data, groups[1].data} {
		if list, err := generation.List(dir); err != nil || len(list) != 2 {
			t.Errorf("%s has %v, %v", dir, list, err)
		}
	}
}

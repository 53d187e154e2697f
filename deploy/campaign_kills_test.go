//go:build campaign

package deploy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/campaign"
)

// TestCampaignKills kills programs at random points of builds, publications,
// pulls, prunes and switches. After each kill the server must serve a complete
// generation, and the program must succeed when it runs again.
func TestCampaignKills(t *testing.T) {
	const lookups = 19_000_000 / 192
	amount := campaign.Amount(t, 192)
	random := campaign.Random(t)
	m := newMirror(t)
	k := &killer{mirror: m, random: random, models: map[uint64]*model{}, took: map[string]time.Duration{}, kills: map[string]int{}}
	k.build(t, true)
	m.pull(t)
	k.server = serve(t, m.data)
	looked := 0
	for i := 0; k.killed() < amount; i++ {
		kind := []string{"build", "pull", "prune", "switch"}[i%4]
		switch kind {
		case "build":
			k.build(t, false)
			k.build(t, true)
		case "pull":
			k.build(t, true)
			k.run(t, kind, "rsync/promo-pull", m.command(t, "2")...)
			waitFor(t, "the killed pull has released its lock", func() bool { // its children end a little later
				return exec.Command("flock", "--nonblock", filepath.Join(m.data, ".pull.lock"), "true").Run() == nil
			})
			m.pull(t)
		case "prune":
			k.run(t, kind, program(t, "promobuild"), "prune", "--data", m.source, "--keep", "2")
			run(t, program(t, "promobuild"), "prune", "--data", m.source, "--keep", "2")
		case "switch": // the server is killed while a generation becomes live
			k.build(t, true)
			m.pull(t)
			time.Sleep(time.Duration(random.IntN(60)) * time.Millisecond) // --poll is 20 ms
			k.server.stop(syscall.SIGKILL)
			k.kills[kind]++
			k.server = serve(t, m.data)
		}
		for _, dir := range []string{m.source, m.data} {
			run(t, program(t, "promobuild"), "verify", dir)
		}
		looked += k.lookUp(t, lookups)
		if t.Failed() {
			t.Fatalf("after kill %d, of a %s", k.killed(), kind)
		}
	}
	t.Logf("kills: %v; %d ids looked up afterwards, none wrong", k.kills, looked)
	wantHealthy(t, k.server)
}

// A killer runs programs and kills some.
type killer struct {
	*mirror
	random *rand.Rand
	server *server
	seed   uint64            // of the next data set
	models map[uint64]*model // by seed
	took   map[string]time.Duration
	kills  map[string]int
}

// killed returns the number of kills.
func (k *killer) killed() (n int) {
	for _, of := range k.kills {
		n += of
	}
	return n
}

// run runs a program and kills its process group at a random time within that
// of the last run that was not killed.
func (k *killer) run(t *testing.T, kind, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := k.took[kind]
	if limit == 0 {
		limit = 300 * time.Millisecond
	}
	timer := time.AfterFunc(time.Duration(k.random.Int64N(int64(limit))), func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	err := cmd.Wait()
	if timer.Stop() { // it ended first
		k.took[kind] = time.Since(began)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	} else {
		k.kills[kind]++
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a script has left running
}

// build builds a generation on the building node, from another data set than the
// ones before.
func (k *killer) build(t *testing.T, complete bool) {
	t.Helper()
	seed := k.seed
	k.seed++
	k.models[seed] = modelOf(t, seed, minRows)
	delete(k.models, seed-8) // no longer served
	before := pgens(t, k.source)
	began := time.Now()
	shards := []string{"1", "16"}[k.random.IntN(2)]
	args := []string{"build", "--quiet", "--memory", "64MiB", "--data", k.source, "--shards", shards, writeCSV(t, seed, minRows)}
	if complete {
		run(t, program(t, "promobuild"), args...)
		k.took["build"] = time.Since(began)
	} else {
		k.run(t, "build", program(t, "promobuild"), args...)
	}
	for _, path := range pgens(t, k.source) {
		if !slices.Contains(before, path) {
			k.add(idOf(t, path), seed)
		}
	}
}

func pgens(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// lookUp looks ids up in batches, once the newest generation is live. It checks
// every promotion against the data set of the generation in the answer.
func (k *killer) lookUp(t *testing.T, amount int) (looked int) {
	t.Helper()
	const batch, missing = 10_000, 100
	list, err := generation.List(k.data)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s has %v, %v", k.data, list, err)
	}
	live := list[len(list)-1].ID.String()
	waitLive(t, k.server.url, live)
	for looked < amount && !t.Failed() {
		seed, _, _ := k.seedOf(live)
		want := k.models[seed]
		from := k.random.IntN(minRows - batch)
		var query, answer, absent bytes.Buffer
		query.WriteString(`{"ids":[`)
		answer.WriteString(`{"promotions":[`)
		for i := range batch {
			if i > 0 {
				query.WriteByte(',')
			}
			if i%missing == 0 { // an id of another data set
				other := string(keys(seed+1).At(uint64(from+i)).AppendText(nil, false))
				fmt.Fprintf(&query, "%q", other)
				fmt.Fprintf(&absent, ",%q", other)
				continue
			}
			query.WriteString(`"` + want.ids[from+i] + `"`)
			if i > 1 {
				answer.WriteByte(',')
			}
			answer.WriteString(want.json[from+i])
		}
		query.WriteString("]}")
		answer.WriteString(`],"not_found":[` + strings.TrimPrefix(absent.String(), ",") + "]}\n")
		resp, err := http.Post(k.server.url+"/promotions/lookup", "application/json", &query)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		_, err = got.ReadFrom(resp.Body)
		resp.Body.Close()
		if id := resp.Header.Get("X-Promotions-Generation"); err != nil || id != live || !bytes.Equal(got.Bytes(), answer.Bytes()) {
			t.Errorf("generation %s, status %d, %v: the answer of %d bytes differs from the data set at %d", id, resp.StatusCode, err, got.Len(), difference(got.Bytes(), answer.Bytes()))
		}
		looked += batch
	}
	return looked
}

func difference(a, b []byte) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i
}

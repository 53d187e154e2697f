package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

const keep = 2

// A model knows which generations a location and its nodes must have.
type model struct {
	dir     string // of the building node
	store   objects.Store
	prefix  string
	loc     transfer.Location
	fail    func(objecttest.Fault)     // nil: the store has no faults
	built   map[string][]byte          // every file that was ever built, by name
	files   map[generation.ID][]string // names of the files that were built
	objects map[string]bool            // of the location; false: damaged
	pin     generation.Pin             // of the location
	nodes   map[generation.Digits]string
	next    generation.ID
}

var start = generation.IDOf(time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC))

func newModel(t gentest.T, dir string, store objects.Store, prefix string) *model {
	m := &model{
		dir: filepath.Join(dir, "builder"), store: store, prefix: prefix + "/", loc: transfer.New(store, prefix),
		built: map[string][]byte{}, files: map[generation.ID][]string{}, objects: map[string]bool{},
		nodes: map[generation.Digits]string{
			generation.AllDigits: filepath.Join(dir, "all"), 0x00ff: filepath.Join(dir, "half"), 1 << 12: filepath.Join(dir, "one"),
		},
		next: start,
	}
	gentest.Must(t, os.Mkdir(m.dir, 0o755))
	return m
}

var shardings = []format.Sharding{format.Unsharded, {Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardFirst, Shards: 32}}

// build publishes a generation and returns its ID.
func (m *model) build(t gentest.T, s format.Sharding, records int) generation.ID {
	t.Helper()
	id := m.next
	m.next += 1000
	paths := []string{gentest.Path(m.dir, id)}
	if s.Shards == 1 {
		gentest.Publish(t, m.dir, id, gentest.Scattered(records))
	} else {
		paths = gentest.PublishSharded(t, m.dir, id, s, gentest.Scattered(records))
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		gentest.Must(t, err)
		m.built[filepath.Base(path)] = text
		m.files[id] = append(m.files[id], filepath.Base(path))
	}
	return id
}

// push pushes a generation and the pin, and prunes, like the command.
func (m *model) push(id generation.ID) error {
	if err := m.send(id); err != nil {
		return err
	}
	want := m.prune(id)
	removed, err := m.loc.Prune(context.Background(), keep, id)
	if err == nil && !slices.Equal(removed, want) {
		err = fmt.Errorf("prune removed %v, want %v", removed, want)
	}
	return err
}

// send pushes a generation and the pin.
func (m *model) send(id generation.ID) error {
	ctx := context.Background()
	pin, err := m.loc.PushPin(ctx, m.dir)
	if err != nil {
		return err
	}
	g, err := generation.Find(m.dir, id, generation.AllDigits)
	if err != nil {
		return err
	}
	set, err := g.OpenIndex()
	if err != nil {
		return err
	}
	defer set.Close()
	if _, err := m.loc.Push(ctx, set, transfer.Progress{}); err != nil {
		return err
	}
	m.pin = pin
	for _, name := range m.files[id] {
		if _, found := m.objects[name]; !found || !m.visible(id) {
			m.objects[name] = true
		}
	}
	m.objects[manifest(id)] = true
	return nil
}

func manifest(id generation.ID) string { return "promotions-" + id.String() + ".json" }

// visible reports whether the location has the manifest of a generation.
func (m *model) visible(id generation.ID) bool { return m.objects[manifest(id)] }

// prune removes old generations after a push of id and returns them.
func (m *model) prune(id generation.ID) (removed []generation.ID) {
	complete := 0
	for _, old := range slices.Backward(slices.Sorted(maps.Keys(m.files))) {
		names := append([]string{manifest(old)}, m.files[old]...)
		absent := 0
		for _, name := range names {
			if _, found := m.objects[name]; !found {
				absent++
			}
		}
		if complete >= keep && absent < len(names) && old != id && !(m.pin.Active && m.pin.ID == old) {
			removed = append(removed, old)
			for _, name := range names {
				delete(m.objects, name)
			}
		}
		if absent == 0 {
			complete++
		}
	}
	slices.Reverse(removed)
	return removed
}

// owned returns the names of the files of a generation that a server of these
// digits needs.
func (m *model) owned(id generation.ID, digits generation.Digits) (names []string) {
	for shard, name := range m.files[id] {
		digit := shard % 16
		if len(m.files[id]) == 32 { // the rule is first
			digit = shard / 2
		}
		if len(m.files[id]) == 1 || digits.Has(digit) {
			names = append(names, name)
		}
	}
	return names
}

// pull pulls to the node of these digits, and checks everything that holds
// after it.
func (m *model) pull(t gentest.T, digits generation.Digits) {
	t.Helper()
	dir := m.nodes[digits]
	var want []generation.ID
	damaged := false
	complete := func(id generation.ID) bool { // on the node
		return !slices.ContainsFunc(m.owned(id, digits), func(name string) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err != nil
		})
	}
	try := func(id generation.ID) bool {
		here, there, good := complete(id), true, true
		for _, name := range m.owned(id, digits) {
			isGood, found := m.objects[name]
			there, good = there && found, good && isGood
		}
		damaged = damaged || !here && there && !good
		if here || there && good {
			want = append(want, id)
			return true
		}
		return false
	}
	pinned := m.pin.Active && m.visible(m.pin.ID)
	if pinned {
		try(m.pin.ID)
	}
	// Generations that only the node has count, too.
	kept, none := 0, len(want) == 0
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(m.files))) {
		switch {
		case m.visible(id) && kept == keep:
			none = false
		case kept == keep:
		case m.visible(id):
			if slices.Contains(want, id) || !(pinned && id == m.pin.ID) && try(id) {
				kept++
				none = false
			}
		case complete(id):
			want = append(want, id)
			kept++
		}
	}

	pulled, err := m.loc.Pull(context.Background(), dir, transfer.PullOptions{Keep: keep, Digits: digits})
	var wantErr error
	if damaged {
		wantErr = transfer.ErrDamaged
	} else if none {
		wantErr = transfer.ErrNone
	}
	if !errors.Is(err, wantErr) || !slices.Equal(pulled.Wanted, want) {
		t.Fatal(fmt.Sprintf("digits %s: pulled %v, %v, want %v, %v", digits, pulled.Wanted, err, want, wantErr))
	}
	m.checkNode(t, dir, digits)
	if pin, err := generation.ReadPin(dir); err != nil || !pin.Equal(m.pin) {
		t.Fatal(fmt.Sprintf("the node has the pin %v, %v, want %v", pin, err, m.pin))
	}
	if list, err := generation.List(dir); err == nil && len(list) > 0 {
		newest := list[len(list)-1].ID
		if slices.ContainsFunc(list, func(g generation.Generation) bool { return m.pin.Active && g.ID == m.pin.ID }) {
			newest = m.pin.ID
		}
		if live := m.live(t, dir, digits); live != newest {
			t.Fatal(fmt.Sprintf("digits %s: %s is live, want %s", digits, live, newest))
		}
	}
}

func (m *model) live(t gentest.T, dir string, digits generation.Digits) generation.ID {
	t.Helper()
	g, err := generation.Live(context.Background(), dir, func(g generation.Generation) error {
		set, err := g.OpenSet(digits)
		if err != nil {
			return err
		}
		defer set.Close()
		return set.Verify(context.Background(), 1, nil)
	})
	gentest.Must(t, err)
	return g.ID
}

// checkNode checks that each file of a node has the bytes of the build, and that no
// generation is incomplete.
func (m *model) checkNode(t gentest.T, dir string, digits generation.Digits) {
	t.Helper()
	list, err := generation.List(dir)
	gentest.Must(t, err)
	for _, g := range list {
		if missing := g.MissingOf(digits); len(missing) > 0 {
			t.Fatal(fmt.Sprintf("generation %s of a node lacks shards %v", g.ID, missing))
		}
		for _, path := range g.Files {
			text, err := os.ReadFile(path)
			gentest.Must(t, err)
			if !bytes.Equal(text, m.built[filepath.Base(path)]) {
				t.Fatal(path + " differs from the build")
			}
		}
	}
}

func (m *model) put(t gentest.T, key string, text []byte) {
	t.Helper()
	_, err := m.store.Put(context.Background(), key, bytes.NewReader(text), int64(len(text)), objects.Always)
	gentest.Must(t, err)
}

func (m *model) actions() map[string]func(*rapid.T) {
	anyBuilt := func(t *rapid.T) generation.ID {
		if len(m.files) == 0 {
			t.Skip()
		}
		return rapid.SampledFrom(slices.Sorted(maps.Keys(m.files))).Draw(t, "generation")
	}
	anyObject := func(t *rapid.T) string {
		if len(m.objects) == 0 {
			t.Skip()
		}
		return rapid.SampledFrom(slices.Sorted(maps.Keys(m.objects))).Draw(t, "object")
	}
	return map[string]func(*rapid.T){
		"build and push": func(t *rapid.T) {
			id := m.build(t, rapid.SampledFrom(shardings).Draw(t, "sharding"), rapid.IntRange(0, 3000).Draw(t, "records"))
			gentest.Must(t, m.push(id))
		},
		"push": func(t *rapid.T) {
			gentest.Must(t, m.push(anyBuilt(t)))
		},
		"pull": func(t *rapid.T) {
			m.pull(t, rapid.SampledFrom(slices.Sorted(maps.Keys(m.nodes))).Draw(t, "digits"))
		},
		"pull with faults": func(t *rapid.T) {
			if m.fail == nil {
				t.Skip()
			}
			fault := rapid.SampledFrom([]objecttest.Fault{
				objecttest.Every(3, objecttest.Gets, objecttest.Cut(100)), objecttest.Every(3, objecttest.Gets, objecttest.SlowDown()), objecttest.Pages(3),
			}).Draw(t, "fault")
			m.fail(fault)
			defer m.fail(nil)
			m.pull(t, rapid.SampledFrom(slices.Sorted(maps.Keys(m.nodes))).Draw(t, "digits"))
		},
		"pin": func(t *rapid.T) {
			gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Active: true, ID: anyBuilt(t), Reason: "wrong", At: time.Now().UTC()}))
		},
		"unpin": func(t *rapid.T) {
			gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Reason: "right", At: time.Now().UTC()}))
		},
		"lose an object": func(t *rapid.T) {
			name := anyObject(t)
			gentest.Must(t, m.store.Delete(context.Background(), m.prefix+name))
			delete(m.objects, name)
		},
		"damage an object": func(t *rapid.T) {
			name := anyObject(t)
			if m.built[name] == nil { // a manifest
				t.Skip()
			}
			text := bytes.Clone(m.built[name])
			text[rapid.IntRange(0, len(text)-1).Draw(t, "offset")] ^= 1
			m.put(t, m.prefix+name, text)
			m.objects[name] = false
		},
	}
}

// Whatever happens to the objects, each node has only whole generations with the
// bytes of the build, and among them the newest good ones.
func TestPullHasTheNewestGoodGenerations(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			dir := tempDir(rt)
			defer os.RemoveAll(dir)
			store, prefix, err := objects.Parse(filepath.Join(dir, "store"), objects.Options{})
			gentest.Must(rt, err)
			rt.Repeat(newModel(rt, dir, store, prefix).actions())
		})
	})
	t.Run("S3", func(t *testing.T) {
		server := objecttest.New(t)
		server.Setenv(t)
		run := 0
		rapid.Check(t, func(rt *rapid.T) {
			dir := tempDir(rt)
			defer os.RemoveAll(dir)
			store, _, err := objects.Parse("s3://"+objecttest.Bucket, server.Options())
			gentest.Must(rt, err)
			run++
			m := newModel(rt, dir, store, fmt.Sprintf("run%d", run))
			m.fail = server.Fail
			rt.Repeat(m.actions())
		})
	})
}

func tempDir(t gentest.T) string {
	dir, err := os.MkdirTemp("", "model")
	gentest.Must(t, err)
	return dir
}

// Each run syncs hundreds of files, so the default is fewer runs than 100.
func TestMain(m *testing.M) {
	flag.Parse()
	if checks := flag.Lookup("rapid.checks").Value; checks.String() == "100" {
		_ = checks.Set("5")
	}
	os.Exit(m.Run())
}

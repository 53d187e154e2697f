package transfer_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

// described returns the manifest of a generation of the model, from its files alone.
func (m *model) described(id generation.ID, s format.Sharding, records uint64) transfer.Manifest {
	var files []transfer.File
	for _, name := range m.files[id] {
		sum := sha256.Sum256(m.built[name])
		files = append(files, transfer.File{Size: int64(len(m.built[name])), SHA256: hex.EncodeToString(sum[:])})
	}
	return transfer.NewManifest(id, s, records, files)
}

// Files that several processes wrote become the same generation as by a push.
func TestPublishedFilesArePulled(t *testing.T) {
	m, server := newS3(t)
	s := format.Sharding{Rule: format.ShardLast, Shards: 16}
	id := m.build(t, s, 1000)
	described := m.described(id, s, 1000)
	for i, name := range m.files[id] {
		absent, err := m.loc.Publish(t.Context(), described)
		var incomplete *generation.IncompleteError
		if !errors.As(err, &incomplete) || len(incomplete.Missing) != 16-i || absent {
			t.Fatalf("with %d of 16 files: %v, %v", i, absent, err)
		}
		for range 2 {
			gentest.Must(t, m.loc.PutFile(t.Context(), described.Files[i], bytes.NewReader(m.built[name])))
		}
	}
	server.Fail(objecttest.First(1, func(r *http.Request) bool { return r.Method == http.MethodPut }, objecttest.Lost()))
	for _, want := range []bool{true, false} {
		if absent, err := m.loc.Publish(t.Context(), described); err != nil || absent != want {
			t.Errorf("%v, %v, want %v", absent, err, want)
		}
	}
	dir := filepath.Join(t.TempDir(), "node")
	if pulled, err := m.loc.Pull(t.Context(), dir, all(1)); err != nil || !slices.Equal(pulled.New, []generation.ID{id}) {
		t.Fatalf("%+v, %v", pulled, err)
	}
	m.checkNode(t, dir, generation.AllDigits)
	if pushed, err := func() (transfer.Pushed, error) {
		g, err := generation.Find(m.dir, id, generation.AllDigits)
		gentest.Must(t, err)
		set, err := g.OpenIndex()
		gentest.Must(t, err)
		defer set.Close()
		return m.loc.Push(t.Context(), set, transfer.Progress{})
	}(); err != nil || pushed != (transfer.Pushed{}) {
		t.Errorf("a push of the same generation: %+v, %v", pushed, err)
	}
}

func TestPublishRefusesOtherContent(t *testing.T) {
	m, _ := newS3(t)
	s := format.Sharding{Rule: format.ShardLast, Shards: 16}
	id := m.build(t, s, 1000)
	described := m.described(id, s, 1000)
	for _, name := range m.files[id] {
		m.put(t, m.prefix+name, m.built[name])
	}
	longer := m.files[id][3]
	m.put(t, m.prefix+longer, append(slices.Clip(m.built[longer]), 0))
	if err := m.loc.PutFile(t.Context(), described.Files[3], bytes.NewReader(m.built[longer])); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("a file of another size exists: %v", err)
	}
	if _, err := m.loc.Publish(t.Context(), described); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("a file of another size: %v", err)
	}
	m.put(t, m.prefix+longer, m.built[longer])
	if _, err := m.loc.Publish(t.Context(), described); err != nil {
		t.Fatal(err)
	}
	other := described.Files[5]
	other.SHA256 = described.Files[4].SHA256
	if err := m.loc.PutFile(t.Context(), other, bytes.NewReader(make([]byte, other.Size))); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("another file of the same size exists: %v", err)
	}
	described.Files[5].SHA256 = described.Files[4].SHA256
	if _, err := m.loc.Publish(t.Context(), described); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("another manifest: %v", err)
	}
}

// A file that a process wrote in the directory of a location is moved, and replaces
// nothing.
func TestTakenFileReplacesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	loc, err := transfer.Parse(dir, objects.Options{})
	gentest.Must(t, err)
	name := generation.Name{ID: 1, Shards: 1}.String()
	take := func(text string) error {
		path, ok, err := loc.TempPath(name)
		if !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
		gentest.Must(t, os.WriteFile(path, []byte(text), 0o644))
		sum := sha256.Sum256([]byte(text))
		return loc.TakeFile(t.Context(), transfer.File{Name: name, Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}, path)
	}
	gentest.Must(t, take("the first"))
	gentest.Must(t, take("the first"))
	for _, text := range []string{"a second!", "the first one"} {
		if err := take(text); !errors.Is(err, transfer.ErrConflict) {
			t.Errorf("%q after another file: %v", text, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != "the first" {
		t.Errorf("%q, %v", got, err)
	}
	if entries, err := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// A file that another process deletes while it is compared is no conflict: the next
// attempt writes it.
func TestFileThatDisappearsIsNoConflict(t *testing.T) {
	m, server := newS3(t)
	id := m.build(t, format.Unsharded, 100)
	f := m.described(id, format.Unsharded, 100).Files[0]
	text := bytes.NewReader(m.built[f.Name])
	gentest.Must(t, m.loc.PutFile(t.Context(), f, text))
	var heads atomic.Int64
	second := func(r *http.Request) bool { return r.Method == http.MethodHead && heads.Add(1) > 1 }
	server.Fail(objecttest.Where(second, objecttest.Error(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")))
	if err := m.loc.PutFile(t.Context(), f, text); !errors.Is(err, objects.ErrNotFound) || errors.Is(err, transfer.ErrConflict) {
		t.Errorf("error %v after %d requests", err, heads.Load())
	}
	server.Fail(nil)
	gentest.Must(t, m.loc.PutFile(t.Context(), f, text))
}

package transfer_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
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
		published, err := m.loc.Publish(t.Context(), described)
		var incomplete *generation.IncompleteError
		if !errors.As(err, &incomplete) || len(incomplete.Missing) != 16-i || published.New {
			t.Fatalf("with %d of 16 files: %+v, %v", i, published, err)
		}
		m.put(t, m.prefix+name, m.built[name])
	}
	server.Fail(objecttest.First(1, func(r *http.Request) bool { return r.Method == http.MethodPut }, objecttest.Lost()))
	for i, want := range []transfer.Published{{New: true, Newest: id}, {Newest: id}} {
		if got, err := m.loc.Publish(t.Context(), described); err != nil || got != want {
			t.Errorf("call %d: %+v, %v, want %+v", i, got, err, want)
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
	if _, err := m.loc.Publish(t.Context(), described); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("a file of another size: %v", err)
	}
	m.put(t, m.prefix+longer, m.built[longer])
	if _, err := m.loc.Publish(t.Context(), described); err != nil {
		t.Fatal(err)
	}
	described.Files[5].SHA256 = described.Files[4].SHA256
	if _, err := m.loc.Publish(t.Context(), described); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("another manifest: %v", err)
	}
	older := transfer.NewManifest(id-1000, s, 0, slices.Clone(described.Files))
	for _, f := range older.Files {
		m.put(t, m.prefix+f.Name, make([]byte, f.Size))
	}
	if got, err := m.loc.Publish(t.Context(), older); err != nil || got != (transfer.Published{New: true, Newest: id}) {
		t.Errorf("an older generation: %+v, %v", got, err)
	}
}

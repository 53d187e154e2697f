package reader_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// keysOf returns the keys of generation id, which no other generation has. They are
// spread evenly over 16 or 64 shards, according to both rules.
func keysOf(id generation.ID) []format.Key {
	keys := make([]format.Key, 1000)
	for i := range keys {
		keys[i] = format.Key{Hi: uint64(i) << 54, Lo: uint64(id)<<16 | uint64(i)}
	}
	return keys
}

// A testStore is a Store of a temporary directory that records its events. When
// the test ends, it checks that the Store leaves no file open and no goroutine
// running.
type testStore struct {
	*reader.Store
	t        *testing.T
	dir      string
	events   chan reader.Event
	verified chan generation.ID // of EventVerified, which comes at any time
}

func newTestStore(t *testing.T, opts reader.StoreOptions) *testStore {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s := &testStore{t: t, dir: t.TempDir(), events: make(chan reader.Event, 1000), verified: make(chan generation.ID, 1000)}
	notify := opts.Notify
	opts.Notify = func(e reader.Event) {
		if e.Kind == reader.EventVerified {
			s.verified <- e.ID
		} else {
			s.events <- e
		}
		if notify != nil {
			notify(e)
		}
	}
	s.Store = reader.NewStore(s.dir, opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if mappings, descriptors := openFiles(t, s.dir); mappings != 0 || descriptors != 0 {
			t.Errorf("%d mappings and %d descriptors remain after Close", mappings, descriptors)
		}
	})
	return s
}

// path returns the path of a generation of one file.
func (s *testStore) path(id generation.ID) string { return gentest.Path(s.dir, id) }

func (s *testStore) publish(id generation.ID) string {
	s.t.Helper()
	return publish(s.t, s.dir, id, keysOf(id))
}

func (s *testStore) poll() {
	s.t.Helper()
	gentest.Must(s.t, s.Poll(s.t.Context()))
}

// acquire returns the file of the live generation and a function that releases
// it. The end of the test releases it too, or else Close would wait after a failure.
func (s *testStore) acquire() (f *reader.Generation, release func()) {
	s.t.Helper()
	f = s.Acquire(0)
	if f == nil {
		s.t.Fatal("no generation is live")
	}
	release = sync.OnceFunc(func() { s.Release(f, 0) })
	s.t.Cleanup(release)
	return f, release
}

// want waits for these events, in this order, and fails if there is another one
// already.
func (s *testStore) want(want ...reader.Event) {
	s.t.Helper()
	for _, w := range want {
		e := <-s.events
		if e.Kind != w.Kind || e.ID != w.ID || !errors.Is(e.Err, w.Err) {
			s.t.Fatalf("event %+v, want %+v", e, w)
		}
	}
	select {
	case e := <-s.events:
		s.t.Fatalf("event %+v, want none", e)
	default:
	}
}

// wantLive checks that generation id is live and serves its records. With id 0
// it checks that no generation is live.
func (s *testStore) wantLive(id generation.ID) {
	s.t.Helper()
	g := s.Acquire(1)
	if g == nil {
		if id != 0 {
			s.t.Fatalf("no generation is live, want %s", id)
		}
		return
	}
	defer s.Release(g, 1)
	if g.ID() != id {
		s.t.Fatalf("%s is live, want %s", g.ID(), id)
	}
	checkRecords(s.t, g)
}

// checkRecords looks up an id of an owned shard of g, and one of another
// generation.
func checkRecords(t *testing.T, g *reader.Generation) {
	keys, i := keysOf(g.ID()), 700
	for !g.Owns(keys[i]) {
		i = (i + 1) % len(keys)
	}
	k := keys[i]
	if r, found, err := g.Get(k); r != recordOf(k) || !found || err != nil {
		t.Errorf("%s: Get(%s) = %x, %t, %v", g.ID(), k, r, found, err)
	}
	k = keysOf(g.ID() + 1)[i]
	if _, found, err := g.Get(k); found || err != nil {
		t.Errorf("%s: Get(%s) = %t, %v", g.ID(), k, found, err)
	}
}

func live(id generation.ID) reader.Event   { return reader.Event{Kind: reader.EventLive, ID: id} }
func closed(id generation.ID) reader.Event { return reader.Event{Kind: reader.EventClosed, ID: id} }
func deleted(id generation.ID) reader.Event {
	return reader.Event{Kind: reader.EventDeleted, ID: id, Err: fs.ErrNotExist}
}
func refused(id generation.ID, err error) reader.Event {
	return reader.Event{Kind: reader.EventRefused, ID: id, Err: err}
}
func fault(id generation.ID) reader.Event {
	return reader.Event{Kind: reader.EventFault, ID: id, Err: reader.ErrFault}
}

func TestStoreServesNewest(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.poll()
	s.want()
	s.wantLive(0)

	path := s.publish(5)
	s.poll()
	s.want(live(5))
	s.wantLive(5)

	s.publish(4) // older than the live generation
	s.poll()
	s.want()
	s.wantLive(5)

	s.publish(6)
	s.publish(7)
	s.poll() // skips 6
	s.want(live(7), closed(5))
	s.wantLive(7)

	if mappings, descriptors := openFiles(t, path); mappings != 0 || descriptors != 0 {
		t.Errorf("%d mappings and %d descriptors of a closed generation remain", mappings, descriptors)
	}
	if mappings, _ := openFiles(t, s.dir); mappings != 1 {
		t.Errorf("%d mappings, want 1", mappings)
	}
}

func TestStoreBeforeDirectoryExists(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s := reader.NewStore(dir, reader.StoreOptions{})
	if err := s.Poll(t.Context()); err != nil || s.Acquire(0) != nil {
		t.Fatal(err)
	}
	gentest.Must(t, os.Mkdir(dir, 0o755))
	publish(t, dir, 1, keysOf(1))
	gentest.Must(t, s.Poll(t.Context()))
	g := s.Acquire(0)
	checkRecords(t, g)
	s.Release(g, 0)
	gentest.Must(t, s.Close())
}

func TestStoreRefusesDamagedNewest(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	s.want(live(1))

	gentest.Flip(t, s.publish(9), format.HeaderLen+100)
	for range 3 { // one event
		s.poll()
	}
	s.want(refused(9, format.ErrChecksum))
	s.wantLive(1)

	s.publish(5) // newer than the live generation, older than the damaged one
	s.poll()
	s.want(live(5), closed(1))

	s.publish(9) // replaces the damaged one
	s.poll()
	s.want(live(9), closed(5))
	s.wantLive(9)
}

func TestStoreStartsWithDamagedNewest(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	gentest.Must(t, os.Truncate(s.publish(3), 5000))
	s.poll()
	s.want(refused(3, format.ErrTruncated), live(2))
	s.wantLive(2)
}

func TestStoreRefusesUnservableNames(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	gentest.Must(t, os.Rename(s.publish(1), s.path(2))) // the header names generation 1
	shard := generation.Name{ID: 7, Shard: 1, Shards: 2}
	gentest.Must(t, os.Rename(s.publish(7), filepath.Join(s.dir, shard.String())))
	// Neither of these is listed.
	gentest.Must(t, os.Mkdir(s.path(4), 0o755))
	gentest.Must(t, os.Symlink("nowhere", s.path(5)))
	s.poll()
	s.poll()
	s.want(refused(2, generation.ErrMisnamed))
	if st := s.Status(); *st.Newest != 7 || !slices.Equal(st.Missing, []int{0}) || len(st.Refused) != 1 {
		t.Errorf("status %+v", st)
	}
	s.wantLive(0)
}

func TestStoreIndexOnly(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{IndexOnly: true})
	gentest.Flip(t, s.publish(1), format.HeaderLen+100)
	s.poll()
	s.want(live(1))
	s.wantLive(1)
}

func TestStoreKeepsRemovedLiveFile(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	path := s.publish(2)
	s.poll()
	s.want(live(2))
	for range 2 {
		gentest.Must(t, os.Rename(path, path+".away"))
		s.poll()
		s.poll()
		s.want(deleted(2)) // once
		s.wantLive(2)
		if st := s.Status(); !st.Deleted {
			t.Errorf("status %+v", st)
		}
		gentest.Must(t, os.Rename(path+".away", path))
		s.poll()
		s.want(reader.Event{Kind: reader.EventRestored, ID: 2})
		if st := s.Status(); st.Deleted {
			t.Errorf("status %+v", st)
		}
	}
	gentest.Must(t, os.Remove(path))
	s.publish(3) // the next poll makes it live, so the removal is no news
	s.poll()
	s.want(live(3), closed(2))
}

// TestFault truncates the live file. A lookup notices.
func TestFault(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			s.publish(1)
			path := s.publish(2)
			s.poll()
			s.want(live(2))
			g, other := s.Acquire(7), s.Acquire(8)
			gentest.Must(t, os.Truncate(path, format.HeaderLen))
			for range 2 { // the second report has no effect
				_, _, err := g.Get(keysOf(2)[3])
				if !errors.Is(err, reader.ErrFault) {
					t.Fatalf("Get: %v", err)
				}
				s.Fault(g, err)
			}
			s.want(fault(2))
			s.wantLive(0)
			s.Release(g, 7)
			s.poll()
			s.poll()
			s.want(refused(2, format.ErrTruncated), live(1))
			s.wantLive(1)
			s.Release(other, 8)
			s.want(closed(2))

			s.publish(2)
			s.poll()
			s.want(live(2), closed(1))
			s.wantLive(2)
		})
	}
}

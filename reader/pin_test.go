package reader_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

func (s *testStore) pin(id generation.ID) {
	s.t.Helper()
	if err := generation.SetPin(s.dir, generation.Pin{Active: true, ID: id, By: "ops"}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *testStore) unpin() {
	s.t.Helper()
	if err := generation.SetPin(s.dir, generation.Pin{By: "ops"}); err != nil {
		s.t.Fatal(err)
	}
}

// writePin gives the pin's file any content.
func (s *testStore) writePin(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, generation.PinName), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func pinned(id generation.ID) reader.Event { return reader.Event{Kind: reader.EventPinned, ID: id} }
func unpinned() reader.Event               { return reader.Event{Kind: reader.EventUnpinned} }
func unreadablePin() reader.Event {
	return reader.Event{Kind: reader.EventPinUnreadable, Err: generation.ErrPin}
}

// wantUnmet waits for the event that what is pinned is not live.
func (s *testStore) wantUnmet(id generation.ID, err error) {
	s.t.Helper()
	e := <-s.events
	if e.Kind != reader.EventPinUnmet || e.ID != id || e.Pin.By != "ops" || err != nil && !errors.Is(e.Err, err) {
		s.t.Fatalf("event %+v, want that %s is not live", e, id)
	}
}

func TestPin(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	s.publish(3)
	s.poll()
	s.want(live(3))

	s.pin(3) // what is live
	s.poll()
	s.want(pinned(3))
	s.publish(4)
	s.poll()
	s.want()
	s.wantLive(3)

	s.pin(1)
	s.poll()
	s.poll()
	s.want(pinned(1), live(1), closed(3))
	s.wantLive(1)

	s.unpin()
	s.poll()
	s.want(unpinned(), live(4), closed(1))
	s.wantLive(4)

	s.pin(2)
	s.poll()
	s.want(pinned(2), live(2), closed(4))
	if err := os.Remove(filepath.Join(s.dir, generation.PinName)); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.want(unpinned(), live(4), closed(2))
}

// TestPinArrivesLater pins what rsync has yet to bring.
func TestPinArrivesLater(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(5)
	s.writePin(fmt.Sprintf(`{"generation":"%s","by":"ops"}`, generation.ID(3)))
	s.poll() // any is better than none
	s.poll()
	e := <-s.events
	if e.Kind != reader.EventPinned || e.Pin.ID != 3 {
		t.Fatalf("event %+v", e)
	}
	if e = <-s.events; e.Kind != reader.EventLive || e.ID != 5 {
		t.Fatalf("event %+v", e)
	}
	s.wantUnmet(3, generation.ErrAbsent)
	s.publish(6)
	s.poll()
	s.want()
	s.wantLive(5)
	s.publish(3)
	s.poll()
	s.want(live(3), closed(5))
	s.wantLive(3)
}

func TestPinnedIsBad(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	gentest.Overwrite(t, s.publish(1), format.HeaderLen+700*format.RecordLen, []byte("damage"))
	s.publish(2)
	s.poll()
	s.want(live(2))
	s.pin(1)
	s.poll()
	s.poll()
	for _, want := range []reader.Event{pinned(1), refused(1, format.ErrChecksum)} {
		if e := <-s.events; e.Kind != want.Kind || e.ID != want.ID || !errors.Is(e.Err, want.Err) {
			t.Fatalf("event %+v, want %+v", e, want)
		}
	}
	s.wantUnmet(1, nil)
	s.publish(3)
	s.poll()
	s.want()
	s.wantLive(2)
	s.publish(1)
	s.poll()
	s.want(live(1), closed(2))

	// One of several shards.
	name := generation.Name{ID: 9, Shards: 2}
	writeFile(t, filepath.Join(s.dir, name.String()), 9, keysOf(9))
	s.writePin(fmt.Sprintf(`{"generation":"%s","by":"ops"}`, name.ID))
	s.poll()
	for _, want := range []reader.Event{pinned(9), refused(9, generation.ErrIncomplete)} {
		if e := <-s.events; e.Kind != want.Kind || e.ID != want.ID || !errors.Is(e.Err, want.Err) {
			t.Fatalf("event %+v, want %+v", e, want)
		}
	}
	s.wantUnmet(9, nil)
	s.want()
	s.wantLive(1)
}

// TestPinnedFaults cuts the pinned generation while it is live: the newest good
// one takes over until the file is repaired.
func TestPinnedFaults(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.publish(2)
	s.publish(3)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	if err := os.Truncate(path, format.HeaderLen); err != nil {
		t.Fatal(err)
	}
	f := s.Acquire(7)
	_, _, err := f.Get(keysOf(1)[3])
	s.Fault(f, err)
	s.Release(f, 7)
	s.want(fault(1), closed(1))
	s.poll()
	s.poll()
	for _, want := range []reader.Event{refused(1, format.ErrTruncated), live(3)} {
		if e := <-s.events; e.Kind != want.Kind || e.ID != want.ID || !errors.Is(e.Err, want.Err) {
			t.Fatalf("event %+v, want %+v", e, want)
		}
	}
	s.wantUnmet(1, nil)
	s.wantLive(3)
	s.publish(1)
	s.poll()
	s.want(live(1), closed(3))
	s.wantLive(1)
}

// badPins are files that are no pin.
var badPins = map[string]string{
	"empty":   "",
	"torn":    `{"generation":"2026112`,
	"garbage": "\x00\xFF\x17 generation",
	"huge":    `{"generation":""` + string(slices.Repeat([]byte(" "), 1<<20)) + "}",
	"other":   `{"pin":"20261122T103000123Z"}`,
}

func TestPinUnreadable(t *testing.T) {
	for name, text := range badPins {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{})
			s.publish(1)
			s.writePin(text)
			s.poll() // any is better than none
			s.poll()
			s.want(unreadablePin(), live(1))
			s.publish(2)
			s.poll()
			s.want()
			s.wantLive(1)
			if st := s.Status(); !errors.Is(st.PinErr, generation.ErrPin) || st.Newest != 2 {
				t.Errorf("status %+v", st)
			}
			s.unpin()
			s.poll()
			s.want(unpinned(), live(2), closed(1))
			s.pin(1)
			s.poll()
			s.want(pinned(1), live(1), closed(2))
			s.writePin(text)
			s.poll()
			s.want(unreadablePin())
			s.wantLive(1)
		})
	}
}

// TestPinMoves changes the pin while what it pinned is being opened, which
// then never goes live.
func TestPinMoves(t *testing.T) {
	for _, indexOnly := range []bool{false, true} {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		dir := t.TempDir()
		for id := generation.ID(1); id <= 3; id++ {
			publish(t, dir, id, keysOf(id))
		}
		pin := func(id generation.ID) {
			if err := generation.SetPin(dir, generation.Pin{Active: true, ID: id}); err != nil {
				t.Error(err)
			}
		}
		var lives []generation.ID
		s := reader.NewStore(dir, reader.StoreOptions{IndexOnly: indexOnly, Notify: func(e reader.Event) {
			switch {
			case e.Kind == reader.EventPinned && e.ID == 1: // before it is opened
				pin(2)
			case e.Kind == reader.EventLive:
				lives = append(lives, e.ID)
			}
		}})
		pin(1)
		if err := s.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(lives, []generation.ID{2}) {
			t.Errorf("live were %v, want 2 alone", lives)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if maps, fds := openFiles(t, dir); maps != 0 || fds != 0 {
			t.Errorf("%d mappings and %d descriptors are left", maps, fds)
		}
	}
}

// What a model knows of a file.
const (
	absent = iota
	good
	damaged
	sharded
)

// A model is what a directory has, and by that what a Store should serve. It is
// written without a look at the Store.
type model struct {
	dir    string
	writes int
	kinds  map[generation.ID]int
	pin    generation.ID // 0: none
	badPin bool
	live   generation.ID // 0: none
	same   bool          // the file with the name of live is the one that went live
}

func (m *model) names(id generation.ID) (one, shard string) {
	return filepath.Join(m.dir, generation.Name{ID: id, Shards: 1}.String()),
		filepath.Join(m.dir, generation.Name{ID: id, Shards: 2}.String())
}

func (m *model) remove(t *rapid.T, id generation.ID) {
	one, shard := m.names(id)
	for _, path := range []string{one, shard} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	m.kinds[id] = absent
	m.same = m.same && id != m.live
}

// write puts a file of this kind in the place of what is there.
func (m *model) write(t *rapid.T, id generation.ID, kind int) {
	m.remove(t, id)
	temp := filepath.Join(m.dir, "temp")
	writeFile(t, temp, id, keysOf(id))
	one, shard := m.names(id)
	switch kind {
	case damaged:
		gentest.Overwrite(t, temp, format.HeaderLen+700*format.RecordLen, []byte("damage"))
	case sharded:
		one = shard
	}
	// A file system may give the new file the inode and the time of the old.
	m.writes++
	at := time.Unix(int64(m.writes), 0)
	if err := errors.Join(os.Chtimes(temp, at, at), os.Rename(temp, one)); err != nil {
		t.Fatal(err)
	}
	m.kinds[id] = kind
}

// goodAbove is the newest good generation above id, or 0.
func (m *model) goodAbove(id generation.ID) generation.ID {
	best := generation.ID(0)
	for other, kind := range m.kinds {
		if kind == good && other > id {
			best = max(best, other)
		}
	}
	return best
}

// poll is what should happen in a Poll.
func (m *model) poll() {
	before := m.live
	switch {
	case m.pin != 0 && !m.badPin && m.kinds[m.pin] == good:
		m.live = m.pin
	case m.live == 0:
		m.live = m.goodAbove(0)
	case m.pin == 0 && !m.badPin:
		m.live = cmp.Or(m.goodAbove(m.live), m.live)
	}
	m.same = m.same && m.live == before || m.live != before && m.live != 0
}

// TestStoreModel does at random what operators and rsync do, and compares after
// every Poll.
func TestStoreModel(t *testing.T) {
	root := t.TempDir()
	genID := rapid.Custom(func(t *rapid.T) generation.ID { return generation.ID(rapid.IntRange(1, 6).Draw(t, "id")) })
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		m := &model{dir: dir, kinds: map[generation.ID]int{}}
		s := reader.NewStore(dir, reader.StoreOptions{Access: rapid.SampledFrom(accesses).Draw(t, "access")})
		pinFile := filepath.Join(dir, generation.PinName)
		writePin := func(text string) {
			if err := os.WriteFile(pinFile, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				m.write(t, genID.Draw(t, "id"), rapid.SampledFrom([]int{good, good, good, damaged, sharded}).Draw(t, "kind"))
			},
			"remove": func(t *rapid.T) { m.remove(t, genID.Draw(t, "id")) },
			"cut the live file": func(t *rapid.T) {
				if m.live == 0 || !m.same {
					t.Skip("there is none")
				}
				one, _ := m.names(m.live)
				if err := os.Truncate(one, 5000); err != nil {
					t.Fatal(err)
				}
				m.kinds[m.live], m.live, m.same = damaged, 0, false
			},
			"pin": func(t *rapid.T) {
				m.pin, m.badPin = genID.Draw(t, "id"), false
				writePin(fmt.Sprintf(`{"generation":"%s"}`, m.pin))
			},
			"unpin": func(*rapid.T) {
				m.pin, m.badPin = 0, false
				writePin(`{"generation":""}`)
			},
			"remove the pin": func(*rapid.T) {
				m.pin, m.badPin = 0, false
				_ = os.Remove(pinFile)
			},
			"bad pin": func(t *rapid.T) {
				m.pin, m.badPin = 0, true
				writePin(badPins[rapid.SampledFrom(slices.Sorted(maps.Keys(badPins))).Draw(t, "pin")])
			},
			"": func(t *rapid.T) {
				if err := s.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
				m.poll()
				m.compare(t, s)
			},
		})
		if err := errors.Join(s.Close(), os.RemoveAll(dir)); err != nil {
			t.Fatal(err)
		}
	})
}

// compare looks at what s serves and says.
func (m *model) compare(t *rapid.T, s *reader.Store) {
	got := generation.ID(0)
	if f := s.Acquire(1); f != nil {
		got = f.ID()
		k := keysOf(got)[700]
		if r, found, err := f.Get(k); r != recordOf(k) || !found || err != nil {
			t.Errorf("%s: Get(%s) = %x, %v, %v", got, k, r, found, err)
		}
		s.Release(f, 1)
	}
	if got != m.live {
		t.Fatalf("generation %d is live, want %d; pin %d, bad %v; %v", got, m.live, m.pin, m.badPin, m.kinds)
	}
	newest := generation.ID(0)
	for id, kind := range m.kinds {
		if kind != absent {
			newest = max(newest, id)
		}
	}
	st := s.Status()
	if st.Pin.Active != (m.pin != 0) || st.Pin.ID != m.pin || (st.PinErr != nil) != m.badPin || st.Newest != newest || st.Any != (newest != 0) {
		t.Fatalf("status %+v, want pin %d, bad %v, newest %d", st, m.pin, m.badPin, newest)
	}
	for _, r := range st.Refused {
		name, err := generation.ParseName(filepath.Base(r.Path))
		if err != nil || m.kinds[name.ID] != damaged && m.kinds[name.ID] != sharded || r.Reason == "" {
			t.Fatalf("refused %+v, %v", r, err)
		}
	}
}

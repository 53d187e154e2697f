package reader_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

func (s *testStore) pin(id generation.ID) {
	s.t.Helper()
	gentest.Must(s.t, generation.SetPin(s.dir, generation.Pin{Active: true, ID: id, By: "ops"}))
}

func (s *testStore) unpin() {
	s.t.Helper()
	gentest.Must(s.t, generation.SetPin(s.dir, generation.Pin{By: "ops"}))
}

// writePin writes text as the pin file.
func (s *testStore) writePin(text string) {
	s.t.Helper()
	gentest.Must(s.t, os.WriteFile(filepath.Join(s.dir, generation.PinName), []byte(text), 0o644))
}

func pinned(id generation.ID) reader.Event { return reader.Event{Kind: reader.EventPinned, ID: id} }
func unpinned() reader.Event               { return reader.Event{Kind: reader.EventUnpinned} }
func unmet(id generation.ID, err error) reader.Event {
	return reader.Event{Kind: reader.EventPinUnmet, ID: id, Err: err}
}
func unreadablePin() reader.Event {
	return reader.Event{Kind: reader.EventPinUnreadable, Err: generation.ErrPin}
}

// wantUnmet waits for the event that the pinned generation is not live because
// it is refused, and fails if there is another event already.
func (s *testStore) wantUnmet(id generation.ID) {
	s.t.Helper()
	if e := <-s.events; e.Kind != reader.EventPinUnmet || e.ID != id || e.Pin.By != "ops" || e.Err == nil {
		s.t.Fatalf("event %+v, want that %s is not live", e, id)
	}
	s.want()
}

// wantFirst is want, but ignores events that follow.
func (s *testStore) wantFirst(want ...reader.Event) {
	s.t.Helper()
	for _, w := range want {
		if e := <-s.events; e.Kind != w.Kind || e.ID != w.ID || !errors.Is(e.Err, w.Err) {
			s.t.Fatalf("event %+v, want %+v", e, w)
		}
	}
}

func TestPinSelectsGeneration(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	s.publish(3)
	s.poll()
	s.want(live(3))

	s.pin(3) // already live
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
	gentest.Must(t, os.Remove(filepath.Join(s.dir, generation.PinName)))
	s.poll()
	s.want(unpinned(), live(4), closed(2))
}

// TestPinUntilNewer rolls back from generation 2 to 1 until a newer one is
// servable. A bad one does not release the pin, and the rolled back one is live
// only if it is the last.
func TestPinUntilNewer(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	s.poll()
	s.want(live(2))
	at := time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)
	gentest.Must(t, generation.SetPin(s.dir, generation.Pin{Active: true, ID: 1, UntilNewer: true, Newest: 2, At: at}))
	s.poll()
	s.poll()
	s.want(pinned(1), live(1), closed(2))
	held := func(want time.Time, pinned bool) {
		t.Helper()
		if st := s.Status(); !st.Held.Equal(want) || (st.Pinned() != nil) != pinned {
			t.Errorf("held since %v, pinned %v, want %v, %t", st.Held, st.Pinned(), want, pinned)
		}
	}
	held(at, true)

	gentest.Flip(t, s.publish(3), format.HeaderLen+100)
	s.poll()
	s.want(refused(3, format.ErrChecksum))
	s.publish(4)
	_, release := s.acquire() // else generation 1 may be closed before the pin is released
	s.poll()
	s.want(live(4), reader.Event{Kind: reader.EventReleased, ID: 4})
	release()
	s.want(closed(1))
	held(time.Time{}, false)
	path := s.publish(5)
	s.poll()
	s.want(live(5), closed(4))

	// After a fault, each other generation is preferred to the rolled back one.
	gentest.Must(t, os.Truncate(path, format.HeaderLen))
	gentest.Must(t, os.Remove(s.path(4)))
	s.poll()
	s.wantFirst(fault(5))
	s.poll()
	s.wantLive(1)
	held(at, true)
	for len(s.events) > 0 {
		<-s.events
	}
}

// TestPinBeforeGeneration pins a generation that rsync has yet to bring.
func TestPinBeforeGeneration(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(5)
	s.writePin(fmt.Sprintf(`{"generation":"%s","by":"ops"}`, generation.ID(3)))
	s.poll() // any generation is better than none
	s.poll()
	s.want(pinned(3), live(5), unmet(3, generation.ErrAbsent))
	s.publish(6)
	s.poll()
	s.want()
	s.wantLive(5)
	s.publish(3)
	s.poll()
	s.want(live(3), closed(5))
	s.wantLive(3)
}

func TestPinnedIsDamaged(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	gentest.Overwrite(t, s.publish(1), format.HeaderLen+700*format.RecordLen, []byte("damage"))
	s.publish(2)
	s.poll()
	s.want(live(2))
	s.pin(1)
	s.poll()
	s.poll()
	s.wantFirst(pinned(1), refused(1, format.ErrChecksum))
	s.wantUnmet(1)
	s.publish(3)
	s.poll()
	s.want()
	s.wantLive(2)
	s.publish(1)
	s.poll()
	s.want(live(1), closed(2))
}

func TestPinnedIsIncomplete(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	s.want(live(1))
	shard := generation.Name{ID: 9, Shards: 2}
	writeKeys(t, filepath.Join(s.dir, shard.String()), 9, keysOf(9))
	s.writePin(fmt.Sprintf(`{"generation":"%s","by":"ops"}`, shard.ID))
	s.poll()
	s.poll()
	s.want(pinned(9), unmet(9, generation.ErrIncomplete))
	s.wantLive(1)
}

// TestPinnedFaults truncates the pinned generation while it is live. The newest
// good one is live until the file is repaired.
func TestPinnedFaults(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.publish(2)
	s.publish(3)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	gentest.Must(t, os.Truncate(path, format.HeaderLen))
	g := s.Acquire(7)
	_, _, err := g.Get(keysOf(1)[3])
	s.Fault(g, err)
	s.Release(g, 7)
	s.want(fault(1), closed(1))
	s.poll()
	s.poll()
	s.wantFirst(refused(1, format.ErrTruncated), live(3))
	s.wantUnmet(1)
	s.wantLive(3)
	s.publish(1)
	s.poll()
	s.want(live(1), closed(3))
	s.wantLive(1)
}

// badPins are contents of unreadable pin files.
var badPins = map[string]string{
	"empty":      "",
	"truncated":  `{"generation":"2026112`,
	"garbage":    "\x00\xFF\x17 generation",
	"too large":  `{"generation":""` + string(slices.Repeat([]byte(" "), 1<<20)) + "}",
	"other JSON": `{"pin":"20261122T103000123Z"}`,
}

func TestPinUnreadable(t *testing.T) {
	for name, text := range badPins {
		t.Run(name, func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{})
			s.publish(1)
			s.writePin(text)
			s.poll() // any generation is better than none
			s.poll()
			s.want(unreadablePin(), live(1))
			s.publish(2)
			s.poll()
			s.want()
			s.wantLive(1)
			if st := s.Status(); !errors.Is(st.PinErr, generation.ErrPin) || *st.Newest != 2 {
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

// TestPinChangesDuringOpen changes the pin while the pinned generation is
// opened. That generation must not become live.
func TestPinChangesDuringOpen(t *testing.T) {
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
			case e.Kind == reader.EventPinned && e.ID == 1: // reported before generation 1 is opened
				pin(2)
			case e.Kind == reader.EventLive:
				lives = append(lives, e.ID)
			}
		}})
		pin(1)
		gentest.Must(t, s.Poll(t.Context()))
		if !slices.Equal(lives, []generation.ID{2}) {
			t.Errorf("generations %v became live, want 2 only", lives)
		}
		gentest.Must(t, s.Close())
		if mappings, descriptors := openFiles(t, dir); mappings != 0 || descriptors != 0 {
			t.Errorf("%d mappings and %d descriptors remain", mappings, descriptors)
		}
	}
}

// A directory that disappears, and returns, does not change the pin.
func TestPinOfMissingDirectory(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	s.pin(1)
	s.poll()
	s.want(pinned(1), live(1))
	away := s.dir + ".away"
	gentest.Must(t, os.Rename(s.dir, away))
	s.poll()
	s.want(reader.Event{Kind: reader.EventDeleted, ID: 1, Err: fs.ErrNotExist})
	if st := s.Status(); !st.Pin.Active || st.Pin.ID != 1 || st.Live == nil {
		t.Errorf("without the directory: pin %v, live %v", st.Pin, st.Live)
	}
	gentest.Must(t, os.Rename(away, s.dir))
	s.poll()
	s.want(reader.Event{Kind: reader.EventRestored, ID: 1})
	gentest.Must(t, errors.Join(os.Rename(s.dir, away), os.Remove(filepath.Join(away, generation.PinName))))
	s.poll()
	s.want(reader.Event{Kind: reader.EventDeleted, ID: 1, Err: fs.ErrNotExist})
	gentest.Must(t, os.Rename(away, s.dir))
	s.poll()
	s.want(unpinned(), live(2), closed(1))
}

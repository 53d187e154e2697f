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

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// The states of a generation in a directory model.
const (
	absent = iota
	good
	damaged
	sharded
)

// A dirModel is the content of a directory, and the generation that a Store
// should serve according to it. It shares no code with Store.
type dirModel struct {
	dir    string
	writes int
	states map[generation.ID]int
	pin    generation.ID // 0: none
	until  generation.ID // a newer good generation releases the pin; 0: none does
	badPin bool
	live   generation.ID // 0: none
	intact bool          // the file at the path of the live generation is the one that is served
}

// paths returns the paths of generation id as one file and as a shard.
func (m *dirModel) paths(id generation.ID) (one, shard string) {
	return gentest.Path(m.dir, id), filepath.Join(m.dir, generation.Name{ID: id, Shards: 2}.String())
}

func (m *dirModel) remove(t *rapid.T, id generation.ID) {
	one, shard := m.paths(id)
	for _, path := range []string{one, shard} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	m.states[id] = absent
	m.intact = m.intact && id != m.live
}

// write replaces generation id by a file in this state.
func (m *dirModel) write(t *rapid.T, id generation.ID, state int) {
	m.remove(t, id)
	temp := filepath.Join(m.dir, "temp")
	writeKeys(t, temp, id, keysOf(id))
	path, shard := m.paths(id)
	switch state {
	case damaged:
		gentest.Overwrite(t, temp, format.HeaderLen+700*format.RecordLen, []byte("damage"))
	case sharded:
		path = shard
	}
	// Distinct times, because the new file can get the inode of the old one.
	m.writes++
	at := time.Unix(int64(m.writes), 0)
	gentest.Must(t, errors.Join(os.Chtimes(temp, at, at), os.Rename(temp, path)))
	m.states[id] = state
}

// goodAbove returns the newest good generation after id, or 0.
func (m *dirModel) goodAbove(id generation.ID) generation.ID {
	best := generation.ID(0)
	for other, state := range m.states {
		if state == good && other > id {
			best = max(best, other)
		}
	}
	return best
}

// poll updates live like a poll should.
func (m *dirModel) poll() {
	before := m.live
	newer := generation.ID(0)
	if m.until != 0 {
		newer = m.goodAbove(max(m.until, m.live))
	}
	switch {
	case newer != 0:
		m.live = newer
	case m.until != 0 && m.live > m.until: // released
	case m.pin != 0 && !m.badPin && m.states[m.pin] == good:
		m.live = m.pin
	case m.live == 0:
		m.live = m.goodAbove(0)
	case m.pin == 0 && !m.badPin:
		m.live = cmp.Or(m.goodAbove(m.live), m.live)
	}
	m.intact = m.intact && m.live == before || m.live != before && m.live != 0
}

// TestStoreFollowsModel changes a directory at random, like operators and rsync,
// and compares the Store with the model after every poll.
func TestStoreFollowsModel(t *testing.T) {
	root := t.TempDir()
	anyID := rapid.Custom(func(t *rapid.T) generation.ID { return generation.ID(rapid.IntRange(1, 6).Draw(t, "id")) })
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		gentest.Must(t, err)
		m := &dirModel{dir: dir, states: map[generation.ID]int{}}
		s := reader.NewStore(dir, reader.StoreOptions{Access: rapid.SampledFrom(accesses).Draw(t, "access")})
		pinFile := filepath.Join(dir, generation.PinName)
		writePin := func(text string) { gentest.Must(t, os.WriteFile(pinFile, []byte(text), 0o644)) }
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				m.write(t, anyID.Draw(t, "id"), rapid.SampledFrom([]int{good, good, good, damaged, sharded}).Draw(t, "state"))
			},
			"remove": func(t *rapid.T) { m.remove(t, anyID.Draw(t, "id")) },
			"truncate the live file": func(t *rapid.T) {
				if m.live == 0 || !m.intact {
					t.Skip("there is none")
				}
				path, _ := m.paths(m.live)
				gentest.Must(t, os.Truncate(path, 5000))
				m.states[m.live], m.live, m.intact = damaged, 0, false
			},
			"pin": func(t *rapid.T) {
				m.pin, m.until, m.badPin = anyID.Draw(t, "id"), 0, false
				writePin(fmt.Sprintf(`{"generation":"%s"}`, m.pin))
			},
			"pin until newer": func(t *rapid.T) {
				m.pin, m.badPin = anyID.Draw(t, "id"), false
				m.until = max(m.pin, anyID.Draw(t, "newest"))
				writePin(fmt.Sprintf(`{"generation":"%s","until_newer_than":"%s"}`, m.pin, m.until))
			},
			"unpin": func(*rapid.T) {
				m.pin, m.until, m.badPin = 0, 0, false
				writePin(`{"generation":""}`)
			},
			"remove the pin": func(*rapid.T) {
				m.pin, m.until, m.badPin = 0, 0, false
				_ = os.Remove(pinFile)
			},
			"unreadable pin": func(t *rapid.T) {
				m.pin, m.until, m.badPin = 0, 0, true
				writePin(badPins[rapid.SampledFrom(slices.Sorted(maps.Keys(badPins))).Draw(t, "pin")])
			},
			"": func(t *rapid.T) {
				gentest.Must(t, s.Poll(t.Context()))
				m.poll()
				m.compare(t, s)
			},
		})
		gentest.Must(t, errors.Join(s.Close(), os.RemoveAll(dir)))
	})
}

// compare checks the live generation and the status of s.
func (m *dirModel) compare(t *rapid.T, s *reader.Store) {
	got := generation.ID(0)
	if f := s.Acquire(1); f != nil {
		got = f.ID()
		k := keysOf(got)[700]
		if r, found, err := f.Get(k); r != recordOf(k) || !found || err != nil {
			t.Errorf("%s: Get(%s) = %x, %t, %v", got, k, r, found, err)
		}
		s.Release(f, 1)
	}
	if got != m.live {
		t.Fatalf("generation %d is live, want %d; pin %d, unreadable %t; %v", got, m.live, m.pin, m.badPin, m.states)
	}
	newest := generation.ID(0)
	for id, state := range m.states {
		if state != absent {
			newest = max(newest, id)
		}
	}
	st := s.Status()
	if newest == 0 != (st.Newest == nil) || st.Newest != nil && *st.Newest != newest {
		t.Fatalf("newest %v, want %d", st.Newest, newest)
	}
	if st.Pin.Active != (m.pin != 0) || st.Pin.ID != m.pin || (st.PinErr != nil) != m.badPin {
		t.Fatalf("status %+v, want pin %d, unreadable %t", st, m.pin, m.badPin)
	}
	for _, r := range st.Refused {
		name, err := generation.ParseName(filepath.Base(r.Path))
		if err != nil || m.states[name.ID] != damaged && m.states[name.ID] != sharded || r.Reason == "" {
			t.Fatalf("refused %+v, %v", r, err)
		}
	}
}

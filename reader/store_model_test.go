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

// The states of a file in a directory model.
const (
	absent = iota
	good
	damaged
)

// A genModel is a generation in a directory model.
type genModel struct {
	sharding format.Sharding
	files    []int // state of the file of each shard
}

// path returns the path of the file of a shard.
func (m *dirModel) path(id generation.ID, shard int) string {
	return filepath.Join(m.dir, generation.Name{ID: id, Shard: shard, Shards: len(m.states[id].files)}.String())
}

// A dirModel is the content of a directory, and the generation that a Store
// should serve according to it. It shares no code with Store.
type dirModel struct {
	dir    string
	digits generation.Digits // of the Store
	writes int
	states map[generation.ID]genModel // generations with a file
	pin    generation.ID              // 0: none
	until  generation.ID              // a newer good generation releases the pin; 0: none does
	badPin bool
	live   generation.ID   // 0: none
	served format.Sharding // of the live generation, when it became live
	intact bool            // the files at the paths of the live generation are those that are served
}

func (m *dirModel) remove(t *rapid.T, id generation.ID) {
	for shard := range m.states[id].files {
		if err := os.Remove(m.path(id, shard)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	delete(m.states, id)
	m.intact = m.intact && id != m.live
}

// write replaces generation id by files in these states.
func (m *dirModel) write(t *rapid.T, id generation.ID, g genModel) {
	m.remove(t, id)
	m.states[id] = g
	publishShards(t, m.dir, id, g.sharding, keysOf(id))
	for shard, state := range g.files {
		m.finish(t, id, shard, state)
	}
}

// replace replaces one file of a generation by one in this state.
func (m *dirModel) replace(t *rapid.T, id generation.ID, shard, state int) {
	g := m.states[id]
	temp, err := os.MkdirTemp(m.dir, "temp-")
	gentest.Must(t, err)
	paths := publishShards(t, temp, id, g.sharding, keysOf(id))
	gentest.Must(t, errors.Join(os.Rename(paths[shard], m.path(id, shard)), os.RemoveAll(temp)))
	m.finish(t, id, shard, state)
	if !slices.ContainsFunc(g.files, func(state int) bool { return state != absent }) {
		delete(m.states, id)
	}
}

// finish gives a good file, which is new, this state.
func (m *dirModel) finish(t *rapid.T, id generation.ID, shard, state int) {
	path := m.path(id, shard)
	switch state {
	case absent:
		gentest.Must(t, os.Remove(path))
	case damaged:
		gentest.Overwrite(t, path, format.HeaderLen+30*format.RecordLen, []byte("damage"))
	}
	if state != absent {
		// Distinct times, because the new file can get the inode of the old one.
		m.writes++
		at := time.Unix(int64(m.writes), 0)
		gentest.Must(t, os.Chtimes(path, at, at))
	}
	m.states[id].files[shard] = state
	m.intact = m.intact && id != m.live
}

// owned returns the numbers of the shards of g that the Store needs.
func (m *dirModel) owned(g genModel) (shards []int) {
	for shard := range g.files {
		if len(g.files) == 1 || m.digits.Has(g.sharding.Digit(uint32(shard))) {
			shards = append(shards, shard)
		}
	}
	return shards
}

// isGood reports whether generation id is servable.
func (m *dirModel) isGood(id generation.ID) bool {
	g, found := m.states[id]
	return found && !slices.ContainsFunc(m.owned(g), func(shard int) bool { return g.files[shard] != good })
}

// missing returns the numbers of the missing shards of generation id.
func (m *dirModel) missing(id generation.ID) []int {
	g := m.states[id]
	return slices.DeleteFunc(m.owned(g), func(shard int) bool { return g.files[shard] != absent })
}

// goodAbove returns the newest good generation after id, or 0.
func (m *dirModel) goodAbove(id generation.ID) generation.ID {
	best := generation.ID(0)
	for other := range m.states {
		if other > id && m.isGood(other) {
			best = max(best, other)
		}
	}
	return best
}

// newest returns the newest generation that has a file, or 0.
func (m *dirModel) newest() generation.ID {
	return slices.Max(append(slices.Collect(maps.Keys(m.states)), 0))
}

// isVerified reports whether the newest generation is live or prepared.
func (m *dirModel) isVerified() bool {
	newest := m.newest()
	held := m.pin != 0 && !m.badPin && newest != m.pin && (m.until == 0 || newest <= m.until)
	return newest != 0 && (newest == m.live || held && m.live != 0 && m.live < newest && m.isGood(newest))
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
	case m.pin != 0 && !m.badPin && m.isGood(m.pin):
		m.live = m.pin
	case m.live == 0:
		m.live = m.goodAbove(0)
	case m.pin == 0 && !m.badPin:
		m.live = cmp.Or(m.goodAbove(m.live), m.live)
	}
	m.intact = m.intact && m.live == before || m.live != before && m.live != 0
	if m.live != before {
		m.served = m.states[m.live].sharding
	}
}

// anyGeneration draws a generation of one or 16 files. Some of its files may be
// damaged or missing.
var anyGeneration = rapid.Custom(func(t *rapid.T) genModel {
	sharding := rapid.SampledFrom([]format.Sharding{format.Unsharded, last16, first16}).Draw(t, "sharding")
	g := genModel{sharding, slices.Repeat([]int{good}, int(sharding.Shards))}
	for range max(0, rapid.IntRange(-2, 2).Draw(t, "bad files")) {
		state := damaged
		if len(g.files) > 1 {
			state = rapid.SampledFrom([]int{absent, damaged}).Draw(t, "state")
		}
		g.files[rapid.IntRange(0, len(g.files)-1).Draw(t, "shard")] = state
	}
	return g
})

// TestStoreFollowsModel changes a directory at random, like operators and rsync,
// and compares the Store with the model after every poll.
func TestStoreFollowsModel(t *testing.T) {
	root := t.TempDir()
	anyID := rapid.Custom(func(t *rapid.T) generation.ID { return generation.ID(rapid.IntRange(1, 6).Draw(t, "id")) })
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(root, "")
		gentest.Must(t, err)
		m := &dirModel{dir: dir, states: map[generation.ID]genModel{}}
		m.digits = rapid.SampledFrom([]generation.Digits{generation.AllDigits, 0x00FF, 0x0402}).Draw(t, "digits")
		s := reader.NewStore(dir, reader.StoreOptions{
			Access: rapid.SampledFrom(accesses).Draw(t, "access"),
			Digits: m.digits,
		})
		pinFile := filepath.Join(dir, generation.PinName)
		writePin := func(text string) { gentest.Must(t, os.WriteFile(pinFile, []byte(text), 0o644)) }
		// anyFile draws a file of a generation that has one.
		anyFile := func(t *rapid.T) (id generation.ID, shard int) {
			if len(m.states) == 0 {
				t.Skip("there is none")
			}
			id = rapid.SampledFrom(slices.Sorted(maps.Keys(m.states))).Draw(t, "id")
			return id, rapid.IntRange(0, len(m.states[id].files)-1).Draw(t, "shard")
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) { m.write(t, anyID.Draw(t, "id"), anyGeneration.Draw(t, "generation")) },
			"remove":  func(t *rapid.T) { m.remove(t, anyID.Draw(t, "id")) },
			"replace a file": func(t *rapid.T) {
				id, shard := anyFile(t)
				m.replace(t, id, shard, rapid.SampledFrom([]int{good, good, damaged, absent}).Draw(t, "state"))
			},
			"repair": func(t *rapid.T) {
				id, _ := anyFile(t)
				for shard, state := range m.states[id].files {
					if state != good {
						m.replace(t, id, shard, good)
					}
				}
			},
			"truncate a live file": func(t *rapid.T) {
				if m.live == 0 || !m.intact {
					t.Skip("there is none")
				}
				shard := rapid.SampledFrom(m.owned(m.states[m.live])).Draw(t, "shard")
				gentest.Must(t, os.Truncate(m.path(m.live, shard), 5000))
				m.states[m.live].files[shard] = damaged
				m.live, m.intact = 0, false
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
	if g := s.Acquire(1); g != nil {
		got = g.ID()
		for _, k := range keysOf(got)[700:732] {
			r, found, err := g.Get(k)
			if len(m.owned(genModel{m.served, make([]int, m.served.Shards)})) == int(m.served.Shards) || m.digits.Has(m.served.DigitOf(k)) {
				if r != recordOf(k) || !found || err != nil {
					t.Errorf("%s: Get(%s) = %x, %t, %v", got, k, r, found, err)
				}
			} else if found || !errors.Is(err, reader.ErrForeign) {
				t.Errorf("%s: Get(%s), which is foreign, = %t, %v", got, k, found, err)
			}
		}
		s.Release(g, 1)
	}
	if got != m.live {
		t.Fatalf("generation %d is live, want %d; pin %d, unreadable %t; %v", got, m.live, m.pin, m.badPin, m.states)
	}
	reader.WaitStandby(s)
	newest := m.newest()
	st := s.Status()
	if newest == 0 != (st.Newest == nil) || st.Newest != nil && *st.Newest != newest {
		t.Fatalf("newest %v, want %d", st.Newest, newest)
	}
	if !slices.Equal(st.Missing, m.missing(newest)) {
		t.Fatalf("shards %v of generation %d are missing, want %v; %v", st.Missing, newest, m.missing(newest), m.states)
	}
	if st.NewestVerified != m.isVerified() {
		t.Fatalf("generation %d is verified %t, want %t; live %d, pin %d, until %d; %v", newest, st.NewestVerified, m.isVerified(), m.live, m.pin, m.until, m.states)
	}
	if st.Pin.Active != (m.pin != 0) || st.Pin.ID != m.pin || (st.PinErr != nil) != m.badPin {
		t.Fatalf("status %+v, want pin %d, unreadable %t", st, m.pin, m.badPin)
	}
	for _, r := range st.Refused {
		name, err := generation.ParseName(filepath.Base(r.Path))
		g := m.states[name.ID]
		if err != nil || name.Shards != len(g.files) || g.files[name.Shard] != damaged || !slices.Contains(m.owned(g), name.Shard) || r.Err == nil {
			t.Fatalf("refused %+v, %v; %v", r, err, m.states)
		}
	}
}

package reader_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/sysmem"
	"promostore/reader"
)

var (
	last16  = format.Sharding{Rule: format.ShardLast, Shards: 16}
	first16 = format.Sharding{Rule: format.ShardFirst, Shards: 16}
	last64  = format.Sharding{Rule: format.ShardLast, Shards: 64}
	first64 = format.Sharding{Rule: format.ShardFirst, Shards: 64}

	shardings = []format.Sharding{format.Unsharded, last16, first16, last64, first64}
)

// publishShards writes a sharded generation into dir and returns the paths of its
// files by shard.
func publishShards(t gentest.T, dir string, id generation.ID, sharding format.Sharding, keys []format.Key) []string {
	t.Helper()
	records := make([]format.Record, len(keys))
	for i, k := range keys {
		records[i] = recordOf(k)
	}
	return gentest.PublishSharded(t, dir, id, sharding, records)
}

func (s *testStore) publishShards(id generation.ID, sharding format.Sharding) []string {
	s.t.Helper()
	return publishShards(s.t, s.dir, id, sharding, keysOf(id))
}

// owned returns those of keys whose shards a server of these digits owns.
func owned(sharding format.Sharding, digits generation.Digits, keys []format.Key) []format.Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k format.Key) bool {
		return !digits.Owns(sharding, sharding.ShardOf(k))
	})
}

// TestGenerationSharesStyles checks that the files of a generation share one
// dictionary.
func TestGenerationSharesStyles(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publishShards(1, last16)
	s.poll()
	s.want(live(1))
	g, _ := s.acquire()
	for _, k := range keysOf(1) {
		if &g.File(k).Styles()[0] != &g.Styles()[0] {
			t.Fatalf("the file of %s has a copy of the dictionary", k)
		}
	}
}

// TestGenerationServesOwnedShards checks lookups, the header and the open files of
// servers of some digits.
func TestGenerationServesOwnedShards(t *testing.T) {
	for _, sharding := range shardings {
		for _, digits := range []generation.Digits{0, generation.AllDigits, 0x00FF, 0x8001} {
			for _, access := range accesses {
				t.Run(fmt.Sprintf("%d shards by %v, digits %v, %v", sharding.Shards, sharding.Rule, digits, access), func(t *testing.T) {
					s := newTestStore(t, reader.StoreOptions{Access: access, Digits: digits})
					s.publishShards(1, sharding)
					s.poll()
					s.want(live(1))
					g, release := s.acquire()
					defer release()
					if digits == 0 {
						digits = generation.AllDigits
					}
					keys := keysOf(1)
					own := owned(sharding, digits, keys)
					numFiles := 0
					for shard := range sharding.Shards {
						if digits.Owns(sharding, shard) {
							numFiles++
						}
					}
					h := g.Header()
					if h.Records != uint64(len(own)) || h.MinKey != own[0] || h.MaxKey != own[len(own)-1] || h.Generation != 1 || g.ID() != 1 {
						t.Errorf("header %+v", h)
					}
					if g.Sharding() != sharding || g.Access() != access || !slices.Equal(g.Styles(), []format.TimestampStyle{{Layout: format.LayoutWall}}) {
						t.Errorf("sharding %+v, access %v, styles %v", g.Sharding(), g.Access(), g.Styles())
					}
					mappings, descriptors := openFiles(t, s.dir)
					if access == reader.AccessMmap && (mappings != numFiles || descriptors != numFiles) || access == reader.AccessPread && descriptors != 2*numFiles {
						t.Errorf("%d mappings and %d descriptors of %d files", mappings, descriptors, numFiles)
					}
					for _, k := range append(keys, keysOf(2)...) {
						isOwned := digits.Owns(sharding, sharding.ShardOf(k))
						if g.Owns(k) != isOwned || (g.File(k) != nil) != isOwned {
							t.Errorf("Owns(%s) = %t", k, g.Owns(k))
						}
						_, present := slices.BinarySearchFunc(own, k, format.Key.Compare)
						r, found, err := g.Get(k)
						switch {
						case !isOwned && errors.Is(err, reader.ErrForeign) && !found:
						case !isOwned || err != nil || found != present || found && r != recordOf(k):
							t.Errorf("Get(%s) = %x, %t, %v; owned %t, present %t", k, r, found, err, isOwned, present)
						}
					}
				})
			}
		}
	}
}

// TestShardsArrive copies the files of a generation one after another, in random
// order. It becomes live with the last owned one, and is never refused.
func TestShardsArrive(t *testing.T) {
	for _, sharding := range shardings[1:] {
		for _, digits := range []generation.Digits{generation.AllDigits, 0x00F0, 0x8000} {
			t.Run(fmt.Sprintf("%d shards by %v, digits %v", sharding.Shards, sharding.Rule, digits), func(t *testing.T) {
				s := newTestStore(t, reader.StoreOptions{Digits: digits})
				s.publish(1)
				s.poll()
				s.want(live(1))
				paths := s.publishShards(2, sharding)
				for _, path := range paths {
					gentest.Must(t, os.Rename(path, path+".away"))
				}
				missing := 0
				for shard := range sharding.Shards {
					if digits.Owns(sharding, shard) {
						missing++
					}
				}
				for _, shard := range rand.Perm(len(paths)) {
					s.poll()
					if missing > 0 {
						s.want()
						s.wantLive(1)
					}
					gentest.Must(t, os.Rename(paths[shard]+".away", paths[shard]))
					if digits.Owns(sharding, uint32(shard)) {
						if missing--; missing == 0 {
							s.poll()
							s.want(live(2), closed(1))
						}
					}
				}
				s.poll()
				s.want()
				if st := s.Status(); len(st.Missing) != 0 || len(st.Refused) != 0 || !st.NewestVerified {
					t.Errorf("status %+v", st)
				}
				g, release := s.acquire()
				for _, k := range owned(sharding, digits, keysOf(2)) {
					if r, found, err := g.Get(k); r != recordOf(k) || !found || err != nil {
						t.Errorf("Get(%s) = %x, %t, %v", k, r, found, err)
					}
				}
				release()
			})
		}
	}
}

// TestDamagedShardRefusesGeneration damages each shard in turn. The refusal names
// its file, the older generation remains live, and only the file needs to be
// replaced.
func TestDamagedShardRefusesGeneration(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	id := generation.ID(1)
	s.publishShards(id, last16)
	s.poll()
	s.want(live(id))
	for shard := range int(last16.Shards) {
		next := id + 1
		path := s.publishShards(next, last16)[shard]
		good, err := os.ReadFile(path)
		gentest.Must(t, err)
		gentest.Flip(t, path, format.HeaderLen+100)
		for range 3 {
			s.poll()
		}
		e := <-s.events
		if e.Kind != reader.EventRefused || e.ID != next || e.Path != path || !errors.Is(e.Err, format.ErrChecksum) {
			t.Fatalf("shard %d: event %+v", shard, e)
		}
		s.want()
		if st := s.Status(); len(st.Refused) != 1 || st.Refused[0].Path != path || st.NewestVerified {
			t.Errorf("shard %d: status %+v", shard, st)
		}
		s.wantLive(id)
		gentest.Must(t, errors.Join(os.WriteFile(path+".new", good, 0o644), os.Rename(path+".new", path)))
		s.poll()
		s.want(live(next), closed(id))
		s.wantLive(next)
		id = next
	}
}

// TestFaultOfShardDemotesGeneration truncates each shard of the live generation in
// turn. A lookup or a poll notices, and the older generation becomes live.
func TestFaultOfShardDemotesGeneration(t *testing.T) {
	for _, access := range accesses {
		for shard := range int(last16.Shards) {
			t.Run(fmt.Sprintf("%v, shard %d", access, shard), func(t *testing.T) {
				s := newTestStore(t, reader.StoreOptions{Access: access})
				s.publishShards(1, last16)
				path := s.publishShards(2, last16)[shard]
				s.poll()
				s.want(live(2))
				gentest.Must(t, os.Truncate(path, format.HeaderLen))
				if shard%2 == 0 {
					keys := keysOf(2)
					g, release := s.acquire()
					err := g.GetBatch(keys, make([]format.Record, len(keys)), make([]bool, len(keys)))
					if !errors.Is(err, reader.ErrFault) {
						t.Fatalf("GetBatch: %v", err)
					}
					s.Fault(g, err)
					s.wantLive(0)
					release()
				}
				s.poll()
				e := <-s.events
				if e.Kind != reader.EventFault || e.ID != 2 || e.Path != path || !errors.Is(e.Err, reader.ErrFault) {
					t.Fatalf("event %+v, want a fault of %s", e, path)
				}
				for range 3 { // the former generation is closed at any time
					switch e := <-s.events; {
					case e.Kind == reader.EventClosed && e.ID == 2:
					case e.Kind == reader.EventLive && e.ID == 1:
					case e.Kind == reader.EventRefused && e.ID == 2 && e.Path == path:
					default:
						t.Fatalf("event %+v", e)
					}
				}
				s.want()
				s.wantLive(1)
			})
		}
	}
}

// TestDisagreeingShards mixes the files of two builds. The refusal names the file
// in the minority. The generation becomes live after all files of one build are
// there, even if the refused file is not replaced.
func TestDisagreeingShards(t *testing.T) {
	for _, replaceRefused := range []bool{true, false} {
		t.Run(fmt.Sprintf("replace the refused file %t", replaceRefused), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{})
			clock := stopClock(s)
			paths := s.publishShards(1, last16)
			other := t.TempDir()
			records := make([]format.Record, 1000)
			for i, k := range keysOf(1) {
				records[i] = recordOf(k)
			}
			others := gentest.PublishSharded(t, other, 1, last16, records, format.TimestampStyle{Layout: format.LayoutWall}, format.TimestampStyle{Layout: format.LayoutRFC3339})
			own, err := os.ReadFile(paths[5])
			gentest.Must(t, err)
			gentest.Must(t, os.Rename(others[5], paths[5]))
			s.poll()
			s.poll()
			e := <-s.events
			if e.Kind != reader.EventRefused || e.Path != paths[5] || !errors.Is(e.Err, generation.ErrDisagree) {
				t.Fatalf("event %+v, want a refusal of %s", e, paths[5])
			}
			s.want()
			if replaceRefused {
				gentest.Must(t, os.WriteFile(paths[5], own, 0o644))
			} else {
				for shard, path := range paths {
					if shard != 5 {
						gentest.Must(t, os.Rename(others[shard], path))
					}
				}
				clock.now = clock.now.Add(time.Minute)
			}
			s.poll()
			s.want(live(1))
			s.wantLive(1)
		})
	}
}

// TestDeletedShard removes and restores files of the live generation, which
// remains live. There is one event for all.
func TestDeletedShard(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{Digits: 0x00FF})
	paths := s.publishShards(1, last16)
	s.poll()
	s.want(live(1))
	for _, shard := range []int{9, 3, 5} { // the first is foreign
		gentest.Must(t, os.Rename(paths[shard], paths[shard]+".away"))
		s.poll()
		if shard == 3 {
			s.want(deleted(1))
		}
		s.want()
		s.wantLive(1)
		if st := s.Status(); st.Deleted != (shard != 9) {
			t.Errorf("shard %d: status %+v", shard, st)
		}
	}
	gentest.Must(t, os.Rename(paths[5]+".away", paths[5]))
	s.poll()
	s.want()
	gentest.Must(t, os.Rename(paths[3]+".away", paths[3]))
	s.poll()
	s.want(reader.Event{Kind: reader.EventRestored, ID: 1})
}

// TestTouchedShards changes the times of files of the live generation. Lookups of
// absent ids in these shards fail until a poll has verified them; the others go on.
func TestTouchedShards(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	paths := s.publishShards(1, last16)
	s.poll()
	s.want(live(1))
	for _, shard := range []int{2, 11} {
		setTime(t, paths[shard], time.Now().Add(time.Hour))
	}
	g, release := s.acquire()
	defer release()
	absent := keysOf(2)
	for _, k := range absent[:32] {
		shard := last16.ShardOf(k)
		_, found, err := g.Get(k)
		if isTouched := shard == 2 || shard == 11; found || errors.Is(err, reader.ErrChanged) != isTouched || !isTouched && err != nil {
			t.Errorf("shard %d: Get(absent) = %t, %v", shard, found, err)
		}
	}
	err := g.GetBatch(absent[:32], make([]format.Record, 32), make([]bool, 32))
	if !errors.Is(err, reader.ErrChanged) {
		t.Errorf("GetBatch: %v, want %v", err, reader.ErrChanged)
	}
	s.Changed(g, err)
	s.poll()
	s.want(reader.Event{Kind: reader.EventChanged, ID: 1, Err: reader.ErrChanged}, reader.Event{Kind: reader.EventUnchanged, ID: 1})
	for _, k := range absent[:32] {
		if _, found, err := g.Get(k); found || err != nil {
			t.Errorf("Get(absent) = %t, %v", found, err)
		}
	}
}

// TestManyShards serves a generation of as many files as possible, many of them
// without records.
func TestManyShards(t *testing.T) {
	most := format.Sharding{Rule: format.ShardLast, Shards: format.MaxShards}
	s := newTestStore(t, reader.StoreOptions{Access: reader.AccessPread, Digits: 1 << 0xc})
	s.publishShards(1, most)
	s.poll()
	s.want(live(1))
	s.wantLive(1)
	g, release := s.acquire()
	defer release()
	keys := owned(most, 1<<0xc, keysOf(1))
	records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
	gentest.Must(t, g.GetBatch(keys, records, found))
	for i, k := range keys {
		if !found[i] || records[i] != recordOf(k) {
			t.Errorf("%s: %x, %t", k, records[i], found[i])
		}
	}
	if h := g.Header(); h.Records != uint64(len(keys)) || len(keys) < 60 {
		t.Errorf("%d records, want %d", h.Records, len(keys))
	}
}

// TestAccessOfSet opens files that fit in memory each, but not together.
func TestAccessOfSet(t *testing.T) {
	total := sysmem.Available()
	for _, c := range []struct {
		size int64
		want reader.Access
	}{{total / 2, reader.AccessMmap}, {2 * total, reader.AccessPread}} {
		if got := reader.Resolve(reader.AccessAuto, c.size); got != c.want {
			t.Errorf("%d bytes of %d: %v, want %v", c.size, total, got, c.want)
		}
	}
	for _, access := range accesses {
		if got := reader.Resolve(access, total); got != access {
			t.Errorf("%v becomes %v", access, got)
		}
	}
}

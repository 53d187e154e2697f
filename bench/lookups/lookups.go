// Package lookups measures lookups of ids that are there, in random order, of
// one goroutine, with everything in memory: of the reader against other
// stores, against one random read of the mapping, and against itself.
//
// Each id depends on what was read before, as those of requests do that come
// one after the other; in batches, ids are known beforehand.
package lookups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/exp/mmap"

	"promostore/bench/contest"
	"promostore/bench/peer"
	"promostore/format/generation"
	"promostore/internal/synth"
	"promostore/internal/sysmem"
	"promostore/reader"
)

const (
	area = "lookup"
	unit = "lookups"

	mostRows = 10_000_000 // of the smaller table, and of peers'; the larger one has ten times as many
	times    = 10

	floorRounds = 9 // of turns of 200 ms
	unevenRound = 5

	ourSetup   = "reader.Open, AccessMmap, verified; Get"
	floorSetup = "x/exp/mmap, one byte at a random record; where it is depends on the byte before, and is made, with the id, as in ours"
)

// Groups are all contests.
var Groups = []contest.Prepare{
	small, large,
	uneven(synth.KeysV7), uneven(synth.KeysSequential), uneven(synth.KeysSamePrefix),
	store("bbolt"), store("Pebble"), store("Badger"), store("LMDB"), store("SQLite"),
	mapped,
}

// Run holds all contests.
func Run(ctx context.Context, env *contest.Env, report func(contest.Result)) error {
	return contest.RunGroups(ctx, env, Groups, report)
}

var _ contest.Area = Run

// small is against the floor in a table that is some times larger than caches.
func small(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	rows := min(env.Rows, mostRows)
	t, err := open(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	g := &contest.Group{Contests: []contest.Contest{againstFloor(t, mostRows)}, Close: t.close}
	key := t.keys.At(0)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, found, _ := t.file.Get(key); !found {
			panic("BUG: " + errAbsent.Error())
		}
	})
	id, err := making(t.ids()).contestant("id", "", func(context.Context) error { return nil }).Run(ctx)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	g.Results = []contest.Result{
		contest.Figure(area, "allocs", "allocations of a lookup", "allocs", allocs, contest.AtMost(0), ""),
		contest.Figure(area, "id", "making an id", "ns", id.More["ns"], nil, "part of every lookup here, of ours, of peers' and of the floor"),
	}
	return g, nil
}

// large is against the floor, and batches, in a table of which every read
// misses the caches.
func large(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	rows := times * min(env.Rows, mostRows)
	const recordLen = 33 // with its share of fences and checksums
	if need := rows * recordLen; need > sysmem.Available()/2 {
		return &contest.Group{Results: []contest.Result{contest.Missing(area, "floor/"+contest.Count(rows), "lookup against one random read", "floor",
			fmt.Sprintf("%d MiB do not fit into half of the memory", need>>20))}}, nil
	}
	t, err := open(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	batch := contest.Contest{
		Area: area, Name: "batch", What: fmt.Sprintf("batch of %d lookups, %s records, against one at a time", batchLen, contest.Count(rows)), Unit: unit, Rows: rows,
		Ours: batches("promostore", "reader.Open, AccessMmap, verified; GetBatch", t.ids(), t.warmOurs(0, rows), t.file.GetBatch),
		Peer: batches("one at a time", ourSetup, t.ids(), t.warmOurs(0, rows), oneByOne(t.file)),
		Bar:  contest.AtLeast(3).For(times*mostRows, rows), Rounds: unevenRound, Note: "the ids are known beforehand in both",
	}
	return &contest.Group{Contests: []contest.Contest{againstFloor(t, times*mostRows), batch}, Close: t.close}, nil
}

// againstFloor is held to its bar if there are barRows.
func againstFloor(t *table, barRows int64) contest.Contest {
	return contest.Contest{
		Area: area, Name: "floor/" + contest.Count(t.rows), What: fmt.Sprintf("lookup, %s records, against one random read of the mapping", contest.Count(t.rows)), Unit: unit, Rows: t.rows,
		Ours: ours(t.file, t.ids()).contestant("promostore", ourSetup, t.warmOurs(0, t.rows)),
		Peer: floor(t.at, t.ids()).contestant("floor", floorSetup, t.warmFloor(0, t.rows)),
		Bar:  contest.AtMost(1.3).For(barRows, t.rows), Rounds: floorRounds,
	}
}

// uneven is a table whose ids are not random, against one whose ids are.
func uneven(kind synth.Kind) contest.Prepare {
	return func(ctx context.Context, env *contest.Env) (_ *contest.Group, err error) {
		rows := min(env.Rows, mostRows)
		t, err := open(ctx, env, kind, rows)
		if err != nil {
			return nil, err
		}
		v4, err := open(ctx, env, synth.KeysV4, rows)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		return &contest.Group{
			Contests: []contest.Contest{{
				Area: area, Name: kind.String(), What: fmt.Sprintf("lookup, %s records, %s ids against v4", contest.Count(rows), kind), Unit: unit, Rows: rows,
				Ours: ours(t.file, t.ids()).contestant(kind.String(), ourSetup, t.warmOurs(0, rows)),
				Peer: ours(v4.file, v4.ids()).contestant("v4", ourSetup, v4.warmOurs(0, rows)),
				Bar:  contest.AtMost(2), Rounds: unevenRound,
			}},
			Close: func() error { return errors.Join(t.close(), v4.close()) },
		}, nil
	}
}

// store is a peer.
func store(name string) contest.Prepare {
	return func(ctx context.Context, env *contest.Env) (_ *contest.Group, err error) {
		rows := min(env.Rows, mostRows)
		what := fmt.Sprintf("lookup, %s records, against %s", contest.Count(rows), name)
		p, found := peer.Find(name)
		if !found {
			return &contest.Group{Results: []contest.Result{contest.Missing(area, name, what, name, peer.NeedsCgo)}}, nil
		}
		var undo []func() error
		closeAll := func() (err error) {
			for i := len(undo) - 1; i >= 0; i-- {
				err = errors.Join(err, undo[i]())
			}
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, closeAll())
			}
		}()
		t, err := open(ctx, env, synth.KeysV4, rows)
		if err != nil {
			return nil, err
		}
		undo = append(undo, t.close)
		csv, err := env.CSV(ctx, synth.KeysV4.String(), rows)
		if err != nil {
			return nil, err
		}
		program, err := peer.MakeProgram(ctx, env.Bin)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(env.Dir, name)
		undo = append(undo, func() error { return os.RemoveAll(path) })
		if _, err := program.Build(ctx, name, csv, path); err != nil {
			return nil, err
		}
		s, err := p.Open(path)
		if err != nil {
			return nil, err
		}
		undo = append(undo, s.Close)
		r, err := s.Reader()
		if err != nil {
			return nil, err
		}
		undo = append(undo, r.Close)
		setup, err := p.Describe(ctx)
		if err != nil {
			return nil, err
		}
		return &contest.Group{
			Contests: []contest.Contest{{
				Area: area, Name: name, What: what, Unit: unit, Rows: rows,
				Ours: ours(t.file, t.ids()).contestant("promostore", ourSetup, t.warmOurs(0, rows)),
				Peer: theirs(r, t.ids()).contestant(name, setup, t.warmPeer(r)),
			}},
			Close: closeAll,
		}, nil
	}
}

// mapped is a Go map of the same records.
func mapped(ctx context.Context, env *contest.Env) (_ *contest.Group, err error) {
	rows := min(env.Rows, mostRows)
	const entryLen = 100 // bytes of a map's entry, at most
	if rows*entryLen > sysmem.Available()/2 {
		return &contest.Group{Results: []contest.Result{contest.Missing(area, "map", "lookup against a Go map", "Go map", "it does not fit into half of the memory")}}, nil
	}
	t, err := open(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	m, err := newGoMap(ctx, t.file)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return &contest.Group{
		Contests: []contest.Contest{{
			Area: area, Name: "map", What: fmt.Sprintf("lookup, %s records, against a Go map", contest.Count(rows)), Unit: unit, Rows: rows,
			Ours: ours(t.file, t.ids()).contestant("promostore", ourSetup, t.warmOurs(0, rows)),
			Peer: m.chain(t.ids()).contestant("Go map", runtime.Version()+": map[[2]uint64][16]byte, made for as many", t.warmMap(m)),
			Note: "the map needs all of its memory in the process, and is lost with it",
		}},
		Close: t.close,
	}, nil
}

// A table is a generation that was verified, and a mapping of it for the
// floor.
type table struct {
	keys synth.Keys
	rows int64
	file *reader.File
	at   *mmap.ReaderAt
}

// open opens the generation of a table, which is made if need be.
func open(ctx context.Context, env *contest.Env, kind synth.Kind, rows int64) (*table, error) {
	dir, err := env.Generation(ctx, kind.String(), rows)
	if err != nil {
		return nil, err
	}
	t, err := openDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	t.keys = synth.Keys{Kind: kind}
	return t, nil
}

// openDir opens the newest generation of a directory.
func openDir(ctx context.Context, dir string) (*table, error) {
	list, err := generation.List(dir)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[len(list)-1].Shards != 1 {
		return nil, fmt.Errorf("%s: no generation of one file", dir)
	}
	path := list[len(list)-1].Files[0]
	f, err := reader.Open(path, reader.AccessMmap)
	if err != nil {
		return nil, err
	}
	if err := f.Verify(ctx, nil); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	at, err := mmap.Open(path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &table{rows: int64(f.Header().Records), file: f, at: at}, nil
}

// ids are those of the table from its beginning.
func (t *table) ids() ids { return computed(t.keys, t.rows) }

func (t *table) close() error { return errors.Join(t.file.Close(), t.at.Close()) }

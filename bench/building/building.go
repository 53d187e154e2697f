// Package building measures builds: of promobuild against what else would sort
// or load the table, against the machine, and against itself where it has less
// memory or ids that are not random.
//
// A build is timed from the start of its process, or of its statement where a
// server does it, until what it wrote is on the disk, which some builds see to
// themselves and for others is done behind them. The input is in the page
// cache. What was made is removed behind each turn.
package building

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"promostore/bench/contest"
	"promostore/bench/peer"
	"promostore/internal/synth"
	"promostore/internal/sysmem"
)

const (
	area = "build"

	// fullRows is the size, in rows, that the bars are for; fullLarge that of
	// the tables that do not fit into fullMemory, in bytes.
	fullRows   = 20_000_000
	times      = 5 // larger is a large table
	fullMemory = 512 << 20

	// slowRows is as much as peers get who would take minutes for more.
	slowRows = 2_000_000

	minMemory = 64 << 20 // of promobuild, in bytes

	syncedNote = "the peer's time is with a sync behind it, of which it has none itself"
)

// Groups are all contests.
var Groups = []contest.Prepare{
	inMemory, loads, large, uneven(synth.KeysV7), uneven(synth.KeysSequential), uneven(synth.KeysSamePrefix),
}

// Run holds all contests, and reports the bytes that a record takes in each of
// the files. It needs some 1,300 bytes of disk a row.
func Run(ctx context.Context, env *contest.Env, report func(contest.Result)) error {
	var b sizes
	err := contest.RunGroups(ctx, env, Groups, func(r contest.Result) {
		b.add(&r)
		report(r)
	})
	if err != nil {
		return err
	}
	b.report(env.Rows, report)
	return nil
}

var _ contest.Area = Run

// inMemory is a table that fits into memory, of random ids.
func inMemory(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	csv, err := cached(ctx, env, synth.KeysV4, env.Rows)
	if err != nil {
		return nil, err
	}
	program, err := peer.MakeProgram(ctx, env.Bin)
	if err != nil {
		return nil, err
	}
	us := turns(env, "promobuild", oursSetup(0), env.Rows, ours(env, csv, 0))
	var g group
	err = g.sort(ctx, env, &contest.Contest{
		Area: area, Name: "sort", What: fmt.Sprintf("build, %s rows, against GNU sort", contest.Count(env.Rows)), Unit: "rows", Rows: env.Rows,
		Ours: us, Bar: contest.AtLeast(10).For(fullRows, env.Rows),
		Note: syncedNote,
	}, peer.Sort{Memory: min(4<<30, sysmem.Total()/4)}, csv, env.Rows)
	if err != nil {
		return nil, err
	}
	err = g.library(ctx, env, &contest.Contest{
		Area: area, Name: "DuckDB", What: fmt.Sprintf("build, %s rows, against DuckDB: CSV to sorted Parquet", contest.Count(env.Rows)), Unit: "rows", Rows: env.Rows,
		Ours: us, Bar: contest.AtLeast(5).For(fullRows, env.Rows),
		Note: syncedNote,
	}, program, csv, env.Rows)
	if err != nil {
		return nil, err
	}
	g.Contests = append(g.Contests, contest.Contest{
		Area: area, Name: "floor", What: fmt.Sprintf("build, %s rows, against reading the input and writing the output", contest.Count(env.Rows)), Unit: "rows", Rows: env.Rows,
		Ours: us, Peer: turns(env, "floor", "each processor reads chunks of 1 MiB and writes as much as a generation has; fsync", env.Rows, floor(csv, fileLen(env.Rows))),
	})
	return &g.Group, nil
}

// A group is contests whose peers may be missing on this machine.
type group struct{ contest.Group }

// library adds c against the peer that c is named after.
func (g *group) library(ctx context.Context, env *contest.Env, c *contest.Contest, program peer.Program, csv string, rows int64) error {
	p, found := peer.Find(c.Name)
	if !found {
		g.Results = append(g.Results, contest.Missing(area, c.Name, c.What, c.Name, peer.NeedsCgo))
		return nil
	}
	setup, err := p.Describe(ctx)
	if err != nil {
		return err
	}
	c.Peer = turns(env, p.Name, setup, rows, library(program, p.Name, csv))
	g.Contests = append(g.Contests, *c)
	return nil
}

// sort adds c against GNU sort.
func (g *group) sort(ctx context.Context, env *contest.Env, c *contest.Contest, s peer.Sort, csv string, rows int64) error {
	setup, err := s.Setup(ctx)
	if errors.Is(err, peer.ErrNotInstalled) {
		g.Results = append(g.Results, contest.Missing(area, c.Name, c.What, "GNU sort", err.Error()))
		return nil
	}
	if err != nil {
		return err
	}
	c.Peer = turns(env, "GNU sort", setup, rows, sorting(s, csv))
	g.Contests = append(g.Contests, *c)
	return nil
}

// loads is stores that are loaded with the table.
func loads(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	rows := min(env.Rows, slowRows)
	csv, err := cached(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	program, err := peer.MakeProgram(ctx, env.Bin)
	if err != nil {
		return nil, err
	}
	us := turns(env, "promobuild", oursSetup(0), rows, ours(env, csv, 0))
	var g group
	against := func(name string) *contest.Contest {
		return &contest.Contest{
			Area: area, Name: name, What: fmt.Sprintf("build, %s rows, against %s", contest.Count(rows), name), Unit: "rows", Rows: rows, Ours: us,
		}
	}
	for _, name := range []string{"SQLite", "bbolt", "Pebble"} {
		if err := g.library(ctx, env, against(name), program, csv, rows); err != nil {
			return nil, err
		}
	}
	maria := against("MariaDB")
	server, err := peer.StartMariaDB(ctx, env.Dir+"/mariadb")
	if errors.Is(err, peer.ErrNotInstalled) {
		g.Results = append(g.Results, contest.Missing(area, maria.Name, maria.What, maria.Name, err.Error()))
		return &g.Group, nil
	}
	if err != nil {
		return nil, err
	}
	g.Close = server.Close
	setup, err := server.Setup(ctx)
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	maria.Note = "the time of LOAD DATA, and of a sync, which does not reach what is in the server's own memory"
	maria.Peer = turns(env, maria.Name, setup, rows, func(ctx context.Context, _ string) (map[string]float64, error) {
		if err := server.Load(ctx, csv, "promotions"); err != nil {
			return nil, err
		}
		n, err := server.TableBytes("promotions")
		return map[string]float64{bytesPerRow: float64(n) / float64(rows)}, err
	})
	g.Contests = append(g.Contests, *maria)
	return &g.Group, nil
}

// large is a table that does not fit into the memory that it gets.
func large(ctx context.Context, env *contest.Env) (*contest.Group, error) {
	rows := times * env.Rows
	csv, err := cached(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	memory := max(fullMemory*env.Rows/fullRows, minMemory)
	all := max(sysmem.Total()/4, min(rows*64, sysmem.Total()/2))
	us := turns(env, "promobuild", oursSetup(memory), rows, ours(env, csv, memory))
	what := fmt.Sprintf("build, %s rows in %d MiB of memory, against ", contest.Count(rows), memory>>20)
	const full = times * fullRows
	g := group{contest.Group{
		Contests: []contest.Contest{{
			Area: area, Name: "spilled/memory", What: what + "all that it wants", Unit: "rows", Rows: rows,
			Ours: us, Peer: turns(env, "in memory", oursSetup(all), rows, ours(env, csv, all)),
			Bar: contest.AtLeast(0.6).For(full, rows),
		}},
		Close: func() error { return os.Remove(csv) },
	}}
	err = g.sort(ctx, env, &contest.Contest{
		Area: area, Name: "spilled/sort", What: what + "GNU sort", Unit: "rows", Rows: rows,
		Ours: us, Bar: contest.AtLeast(15).For(full, rows),
		Note: syncedNote,
	}, peer.Sort{Memory: memory}, csv, rows)
	return &g.Group, err
}

// uneven is a table whose ids are not random, against one whose ids are.
func uneven(kind synth.Kind) func(context.Context, *contest.Env) (*contest.Group, error) {
	return func(ctx context.Context, env *contest.Env) (*contest.Group, error) {
		even, err := cached(ctx, env, synth.KeysV4, env.Rows)
		if err != nil {
			return nil, err
		}
		csv, err := cached(ctx, env, kind, env.Rows)
		if err != nil {
			return nil, err
		}
		const recordLen = 32
		// A quarter of what the records take.
		memory := max(env.Rows*recordLen/4, minMemory)
		note := ""
		if env.Rows*recordLen < minMemory {
			note = "all fits into the least memory that promobuild takes: nothing is spilled at this size"
		}
		versus := func(name, how, note string, memory int64) contest.Contest {
			return contest.Contest{
				Area: area, Name: kind.String() + "/" + name, Unit: "rows", Rows: env.Rows,
				What: fmt.Sprintf("build %s, %s rows, %s ids against v4", how, contest.Count(env.Rows), kind),
				Ours: turns(env, kind.String(), oursSetup(memory), env.Rows, ours(env, csv, memory)),
				Peer: turns(env, "v4", oursSetup(memory), env.Rows, ours(env, even, memory)),
				Bar:  contest.AtLeast(0.7), Note: note,
			}
		}
		return &contest.Group{
			Contests: []contest.Contest{
				versus("memory", "in memory", "", 0),
				versus("spilled", fmt.Sprintf("in %d MiB of memory", memory>>20), note, memory),
			},
			Close: func() error { return os.Remove(csv) },
		}, nil
	}
}

// sorting is a build by GNU sort.
func sorting(s peer.Sort, csv string) build {
	return func(ctx context.Context, path string) (map[string]float64, error) {
		return nil, s.Build(ctx, csv, path)
	}
}

// library is a build by a peer in a process of its own.
func library(program peer.Program, name, csv string) build {
	return func(ctx context.Context, path string) (map[string]float64, error) {
		peak, err := program.Build(ctx, name, csv, path)
		return map[string]float64{peakMiB: float64(peak) / (1 << 20)}, err
	}
}

// cached is the path of a table that is in the page cache, if there is room.
func cached(ctx context.Context, env *contest.Env, kind synth.Kind, rows int64) (string, error) {
	path, err := env.CSV(ctx, kind.String(), rows)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// Not io.Discard itself, into which a file is read with small buffers.
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, f, make([]byte, 1<<20))
	return path, err
}

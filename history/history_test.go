package history_test

import (
	"cmp"
	"context"
	"errors"

	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/history"
	"promostore/internal/diff"
	"promostore/internal/gentest"

	"pgregory.net/rapid"
)

var (
	last16  = format.Sharding{Rule: format.ShardLast, Shards: 16}
	first16 = format.Sharding{Rule: format.ShardFirst, Shards: 16}
	last32  = format.Sharding{Rule: format.ShardLast, Shards: 32}

	shardings = []format.Sharding{format.Unsharded, format.Unsharded, last16, first16, last32}

	styles = []format.TimestampStyle{{Layout: format.LayoutWall}, {Layout: format.LayoutOffset, Minutes: 120}, {Layout: format.LayoutUTC}}
)

// keys are the ids of the tests. Every digit is the first and the last one of some.
var keys = func() (keys []format.Key) {
	for i := range uint64(64) {
		keys = append(keys, format.Key{Hi: i << 58, Lo: i*7 + 3})
	}
	return keys
}()

// A model is a generation as a naive map.
type model struct {
	id       generation.ID
	sharding format.Sharding
	records  map[format.Key]format.Record
	missing  int // a shard whose file is missing; -1: none
	damaged  int // a shard with a damaged block; -1: none
}

func (m *model) sorted() (records []format.Record) {
	for _, r := range m.records {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
	return records
}

// path returns the path of the file of a shard.
func (m *model) path(dir string, shard int) string {
	return filepath.Join(dir, generation.Name{ID: m.id, Shard: shard, Shards: int(m.sharding.Shards)}.String())
}

// publish writes the files of m to dir.
func (m *model) publish(t gentest.T, dir string) {
	paths := []string{gentest.Path(dir, m.id)}
	if m.sharding.Shards == 1 {
		gentest.Publish(t, dir, m.id, m.sorted(), styles...)
	} else {
		paths = gentest.PublishSharded(t, dir, m.id, m.sharding, m.sorted(), styles...)
	}
	if m.missing >= 0 {
		gentest.Must(t, os.Remove(paths[m.missing]))
	}
	if m.damaged >= 0 && m.damaged != m.missing {
		gentest.Flip(t, paths[m.damaged], format.HeaderLen+5) // in the first record, or in the checksums
	}
}

func drawModel(t *rapid.T, id generation.ID, harm bool) *model {
	m := &model{id: id, sharding: rapid.SampledFrom(shardings).Draw(t, "sharding"), records: map[format.Key]format.Record{}, missing: -1, damaged: -1}
	seed := rapid.Uint64().Draw(t, "seed")
	for i, key := range keys {
		x := seed >> (i % 60) & 7
		if x == 0 {
			continue
		}
		m.records[key] = format.MakeRecord(key, x&1 == 0, format.Price{Digits: 100 + x&2, Scale: 2}, 63_000_000_000, uint16(x%3))
	}
	if harm {
		switch rapid.IntRange(0, 3).Draw(t, "harm") {
		case 0:
			m.missing = rapid.IntRange(0, int(m.sharding.Shards)-1).Draw(t, "missing")
		case 1:
			m.damaged = rapid.IntRange(0, int(m.sharding.Shards)-1).Draw(t, "damaged")
		}
	}
	return m
}

// csv returns a record as a row.
func csv(r format.Record) string { return string(r.AppendCSV(nil, styles, ',')) }

// directory returns the directory as a program sees it that reads indexes only.
func directory(dir string) history.Directory {
	var c generation.Checker
	return history.Directory{Path: dir, Digits: generation.AllDigits, Status: c.Status(dir)}
}

func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	gentest.Must(t, err)
	return dir
}

// Lookup tells what a map of each generation tells, or an error if the file of the
// shard is missing or damaged.
func TestLookup(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := tempDir(t)
		var models []*model
		for i := range rapid.IntRange(0, 4).Draw(rt, "generations") {
			m := drawModel(rt, generation.ID(1000+i), true)
			m.publish(rt, dir)
			models = append(models, m)
		}
		var pin generation.ID
		if len(models) > 0 && rapid.Bool().Draw(rt, "pin") {
			pin = rapid.SampledFrom(models).Draw(rt, "pinned").id
			if err := generation.CopyPin(dir, generation.Pin{Active: true, ID: pin}); err != nil {
				rt.Fatal(err)
			}
		}
		d := directory(dir)
		var live generation.ID
		if d.Status.Live != nil {
			live = generation.ID(d.Status.Live.Generation)
		}
		present := slices.DeleteFunc(slices.Clone(models), func(m *model) bool { return m.missing >= 0 && m.sharding.Shards == 1 })
		slices.Reverse(present)
		for _, key := range append(slices.Clone(keys), format.Key{}, format.Key{Hi: 1 << 63, Lo: 12345}) {
			entries, omitted, err := d.Lookup(rt.Context(), key)
			if err != nil || omitted != 0 || len(entries) != len(present) {
				rt.Fatalf("%d entries, %v; want %d", len(entries), err, len(present))
			}
			for i, e := range entries {
				m := present[i]
				want, ok := m.records[key]
				shard := int(m.sharding.ShardOf(key))
				switch {
				case e.ID != m.id || e.Live != (m.id == live) || e.Pinned != (m.id == pin):
					rt.Fatalf("entry %+v of generation %s, live %s, pinned %s", e, m.id, live, pin)
				case m.missing == shard:
					if !errors.Is(e.Err, generation.ErrIncomplete) || e.Found {
						rt.Fatalf("missing: %+v", e)
					}
				case m.damaged == shard:
					if e.Err == nil && (e.Found != ok || ok && csv(e.Record) != csv(want)) {
						rt.Fatalf("damaged: %+v, want %t", e, ok)
					}
					if e.Err != nil && !errors.Is(e.Err, format.ErrChecksum) {
						rt.Fatalf("damaged: %v", e.Err)
					}
				case e.Err != nil || e.Found != ok || ok && csv(e.Record) != csv(want) || ok && !slices.Equal(e.Styles, styles):
					rt.Fatalf("%s in %s, %v: %+v, want %t", key, m.id, m.sharding, e, ok)
				}
			}
		}
	})
}

// Diff finds the differences that maps have, in the ids that a program of some digits
// may have in both generations.
func TestDiff(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := tempDir(t)
		a, b := drawModel(rt, 1000, false), drawModel(rt, 2000, false)
		a.publish(rt, dir)
		b.publish(rt, dir)
		d := directory(dir)
		d.Digits = rapid.SampledFrom([]generation.Digits{generation.AllDigits, 0x00ff, 0x8001}).Draw(rt, "digits")
		want := map[string]bool{}
		var counts diff.Counts
		for _, key := range keys {
			if !d.Digits.Owns(a.sharding, a.sharding.ShardOf(key)) || !d.Digits.Owns(b.sharding, b.sharding.ShardOf(key)) {
				continue
			}
			from, inA := a.records[key]
			to, inB := b.records[key]
			switch {
			case inA && !inB:
				want["removed "+csv(from)] = true
				counts.Removed++
			case inB && !inA:
				want["added "+csv(to)] = true
				counts.Added++
			case inA && from.Price() == to.Price() && from.Style() == to.Style():
				counts.Unchanged++
			case inA:
				want["changed "+csv(from)+" "+csv(to)] = true
				counts.Changed++
			}
		}
		got := map[string]bool{}
		calls := 0
		n, err := runDiff(rt.Context(), d, a.id, b.id, func(c history.Change) error {
			text := string(c.Kind)
			for _, s := range []*history.Side{c.From, c.To} {
				if s != nil {
					text += " " + string(s.Record.AppendCSV(nil, s.Styles, ','))
				}
			}
			got[text] = true
			calls++
			return nil
		}, nil)
		if err != nil || n != counts || calls != len(want) || len(got) != len(want) {
			rt.Fatalf("%v and %v, digits %s: %+v, %d changes, %v; want %+v, %d", a.sharding, b.sharding, d.Digits, n, calls, err, counts, len(want))
		}
		for text := range want {
			if !got[text] {
				rt.Fatalf("%q is missing in %v", text, got)
			}
		}
	})
}

// Generations counts what the files have, and tells why a generation is not live.
func TestGenerations(t *testing.T) {
	dir := tempDir(t)
	future := generation.IDOf(time.Now().Add(1000 * time.Hour))
	whole := func(id generation.ID, s format.Sharding) *model {
		m := &model{id: id, sharding: s, records: map[format.Key]format.Record{}, missing: -1, damaged: -1}
		for _, key := range keys {
			m.records[key] = format.MakeRecord(key, false, format.Price{Digits: 1}, 0, 0)
		}
		m.publish(t, dir)
		return m
	}
	whole(1, format.Unsharded)
	pinned, incomplete, damaged := whole(2, last16), whole(3, first16), whole(4, format.Unsharded)
	whole(future, format.Unsharded)
	gentest.Must(t, os.Remove(incomplete.path(dir, 9)))
	gentest.Flip(t, damaged.path(dir, 0), -1)
	gentest.Must(t, generation.SetPin(dir, generation.Pin{Active: true, ID: pinned.id, By: "ana", Reason: "x"}))
	gentest.Must(t, generation.WriteSummary(dir, pinned.id, generation.Summary{Source: generation.SourceInbox, Rows: 64, Records: 64}))
	gentest.Must(t, os.WriteFile(filepath.Join(dir, generation.SummaryName(1)), []byte("{"), 0o644))
	gentest.Must(t, generation.WriteSummary(dir, 7, generation.Summary{Source: generation.SourceInbox})) // of no generation

	list, omitted, err := directory(dir).Generations(t.Context())
	if err != nil || omitted != 0 || len(list) != 5 {
		t.Fatalf("%d generations, %v", len(list), err)
	}
	for i, want := range []struct {
		id      generation.ID
		state   history.State
		records int64
		summary bool
		reason  string
	}{
		{4, history.StateRetained, 64, false, ""}, // its headers are good
		{3, history.StateIncomplete, -1, false, "missing 1 of 16 shards: 9"},
		{2, history.StateLive, 64, true, ""},
		{1, history.StateRetained, 64, false, ""},
		{future, history.StateFuture, 64, false, ""},
	} {
		g := list[i]
		if want.records < 0 {
			want.records = 64 - 4 // 4 of the ids begin with a 9
		}
		if g.ID != want.id || g.State != want.state || g.Records != want.records || (g.Summary != nil) != want.summary || g.Pinned != (g.ID == 2) || g.Bytes == 0 {
			t.Errorf("generation %+v, want %+v", g, want)
		}
		if (g.Err == nil) != (want.reason == "") || g.Err != nil && generation.PublicReason(g.Err) != want.reason {
			t.Errorf("generation %s: %v, want %q", g.ID, g.Err, want.reason)
		}
	}

	// Without the pin, a program refuses the damaged one.
	gentest.Must(t, os.Remove(filepath.Join(dir, generation.PinName)))
	list, _, err = directory(dir).Generations(t.Context())
	gentest.Must(t, err)
	if g := list[0]; g.State != history.StateRefused || g.Err == nil || generation.PublicReason(g.Err) != format.ErrChecksum.Error() {
		t.Errorf("refused generation %+v: %q", g, generation.PublicReason(g.Err))
	}
}

func TestMissingDirectoryHasNoGenerations(t *testing.T) {
	d := directory(filepath.Join(t.TempDir(), "none"))
	if list, _, err := d.Generations(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("Generations: %v, %v", list, err)
	}
	if entries, _, err := d.Lookup(t.Context(), keys[0]); err != nil || len(entries) > 0 {
		t.Errorf("Lookup: %v, %v", entries, err)
	}
	if _, err := runDiff(t.Context(), d, 1, 2, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Diff: %v", err)
	}
}

// A directory with many generations has a history of the newest ones.
func TestManyGenerations(t *testing.T) {
	dir := t.TempDir()
	for id := range generation.ID(history.MaxGenerations + 5) {
		gentest.Publish(t, dir, id, nil)
	}
	d := directory(dir)
	list, omitted, err := d.Generations(t.Context())
	if err != nil || omitted != 5 || len(list) != history.MaxGenerations || list[0].ID != history.MaxGenerations+4 {
		t.Errorf("Generations: %d, %d omitted, %v", len(list), omitted, err)
	}
	if entries, omitted, err := d.Lookup(t.Context(), keys[0]); err != nil || omitted != 5 || len(entries) != history.MaxGenerations {
		t.Errorf("Lookup: %d, %d omitted, %v", len(entries), omitted, err)
	}
}

// Prune removes generations while they are read. Those that remain are right, and
// none is in error.
func TestPruneDuringLookup(t *testing.T) {
	for _, s := range []format.Sharding{format.Unsharded, last16} {
		dir := t.TempDir()
		const n = 12
		for id := range generation.ID(n) {
			m := &model{id: id, sharding: s, records: map[format.Key]format.Record{}, missing: -1, damaged: -1}
			for _, key := range keys {
				m.records[key] = format.MakeRecord(key, false, format.Price{Digits: uint64(id)}, 0, 0)
			}
			m.publish(t, dir)
		}
		d := directory(dir)
		var group sync.WaitGroup
		group.Go(func() {
			w, err := generation.OpenWriter(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer w.Close()
			for keep := n - 1; keep > 0; keep-- {
				if _, err := w.Prune(context.Background(), generation.PruneOptions{Keep: keep, Check: func(generation.Generation) error { return nil }}); err != nil {
					t.Error(err)
				}
			}
		})
		for i, left := 0, n; left > 1; i++ {
			entries, _, err := d.Lookup(t.Context(), keys[i%len(keys)])
			if err != nil || len(entries) == 0 || entries[0].ID != n-1 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			for _, e := range entries {
				// A generation of several files is incomplete while it is removed.
				if e.Err != nil && !errors.Is(e.Err, generation.ErrIncomplete) || e.Err == nil && (!e.Found || e.Record.Price().Digits != uint64(e.ID)) {
					t.Fatalf("entry %+v", e)
				}
			}
			if _, _, err := d.Generations(t.Context()); err != nil {
				t.Fatal(err)
			}
			left = len(entries)
		}
		group.Wait()
	}
}

// runDiff prepares and runs a comparison.
func runDiff(ctx context.Context, d history.Directory, from, to generation.ID, visit func(history.Change) error, progress func() error) (diff.Counts, error) {
	x, err := d.Diff(from, to)
	if err != nil {
		return diff.Counts{}, err
	}
	return x.Run(ctx, visit, progress)
}

// limitFiles lets f open no more than n files.
func limitFiles(t *testing.T, n uint64, f func()) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	gentest.Must(t, err)
	highest := uint64(0)
	for _, e := range entries {
		fd, _ := strconv.ParseUint(e.Name(), 10, 64)
		highest = max(highest, fd)
	}
	var old syscall.Rlimit
	gentest.Must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old))
	limit := old
	limit.Cur = uint64(len(entries)) + n // free numbers below the highest count too
	for limit.Cur <= highest {
		limit.Cur++
	}
	limit.Cur = min(limit.Cur, old.Max)
	gentest.Must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	defer func() { gentest.Must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old)) }()
	f()
}

// All functions open few files at a time, whatever the number of shards.
func TestFewOpenFiles(t *testing.T) {
	dir := t.TempDir()
	many := format.Sharding{Rule: format.ShardLast, Shards: 256}
	for id := range generation.ID(3) {
		gentest.PublishSharded(t, dir, id, many, gentest.Scattered(1000))
	}
	d := directory(dir)
	limitFiles(t, 4, func() {
		for _, key := range keys {
			entries, _, err := d.Lookup(t.Context(), key)
			if err != nil || len(entries) != 3 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			for _, e := range entries {
				gentest.Must(t, e.Err)
			}
		}
		list, _, err := d.Generations(t.Context())
		if err != nil || len(list) != 3 || list[0].Err != nil || list[0].Records != 1000 {
			t.Errorf("Generations: %+v, %v", list, err)
		}
		if n, err := runDiff(t.Context(), d, 0, 2, nil, nil); err != nil || n.Unchanged != 1000 {
			t.Errorf("Diff: %+v, %v", n, err)
		}
	})
	gentest.Publish(t, dir, 3, gentest.Scattered(1000))
	if _, err := runDiff(t.Context(), d, 0, 3, nil, nil); !errors.Is(err, history.ErrManyFiles) {
		t.Errorf("Diff of 257 files at a time: %v", err)
	}
}

// A server of some digits compares the shards that it has.
func TestDiffOfDigits(t *testing.T) {
	dir := t.TempDir()
	for id := range generation.ID(2) {
		for shard, path := range gentest.PublishSharded(t, dir, id, last16, gentest.Scattered(1600)) {
			if shard > 7 {
				gentest.Must(t, os.Remove(path))
			}
		}
	}
	d := history.Directory{Path: dir, Digits: 0x00ff}
	if n, err := runDiff(t.Context(), d, 0, 1, nil, nil); err != nil || n.Unchanged != 800 {
		t.Errorf("Diff: %+v, %v", n, err)
	}
	d.Digits = generation.AllDigits
	if _, err := runDiff(t.Context(), d, 0, 1, nil, nil); !errors.Is(err, generation.ErrIncomplete) {
		t.Errorf("Diff: %v", err)
	}
}

func TestDiffErrors(t *testing.T) {
	dir := t.TempDir()
	a := gentest.Publish(t, dir, 1, gentest.Sequence(100_000))
	gentest.Publish(t, dir, 2, nil)
	d := directory(dir)
	if _, err := runDiff(t.Context(), d, 1, 3, nil, nil); !errors.Is(err, generation.ErrAbsent) {
		t.Errorf("absent: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	calls := 0
	if _, err := runDiff(ctx, d, 1, 2, func(history.Change) error {
		if calls++; calls == 10 {
			cancel(stopped)
		}
		return nil
	}, nil); !errors.Is(err, stopped) {
		t.Errorf("canceled: %v", err)
	}
	for name, diff := range map[string]func() (diff.Counts, error){
		"visit": func() (diff.Counts, error) {
			return runDiff(t.Context(), d, 1, 2, func(history.Change) error { return stopped }, nil)
		},
		"progress": func() (diff.Counts, error) {
			return runDiff(t.Context(), d, 1, 2, nil, func() error { return stopped })
		},
	} {
		if _, err := diff(); !errors.Is(err, stopped) {
			t.Errorf("error of %s: %v", name, err)
		}
	}
	gentest.Flip(t, a, format.BlockOff(500)+1)
	if _, err := runDiff(t.Context(), d, 1, 2, nil, nil); !errors.Is(err, format.ErrChecksum) || generation.PublicReason(err) != "wrong checksum" {
		t.Errorf("damaged: %v, %q", err, generation.PublicReason(err))
	}
}

func TestPublicReasonNamesNoFile(t *testing.T) {
	dir := t.TempDir()
	path := gentest.Path(dir, 1)
	d := history.Directory{Path: dir, Digits: generation.AllDigits}
	for name, harm := range map[string]func(){
		"misnamed":  func() { gentest.Must(t, os.Rename(path, gentest.Path(dir, 2))) },
		"directory": func() { gentest.Must(t, cmp.Or(os.Remove(path), syscall.Mkfifo(path, 0o600))) },
		"text":      func() { gentest.Must(t, os.WriteFile(path, []byte("x"), 0o644)) },
		"version":   func() { gentest.Overwrite(t, path, 8, []byte{9, 9, 9, 9}) },
	} {
		gentest.Must(t, os.RemoveAll(dir))
		gentest.Must(t, os.Mkdir(dir, 0o755))
		gentest.Publish(t, dir, 1, gentest.Sequence(3))
		harm()
		entries, _, err := d.Lookup(t.Context(), format.Key{})
		gentest.Must(t, err)
		list, _, err := d.Generations(t.Context())
		gentest.Must(t, err)
		for _, err := range []error{entries[0].Err, list[0].Err} {
			if err == nil {
				t.Errorf("%s: no error", name)
				continue
			}
			if reason := generation.PublicReason(err); reason == "" || strings.ContainsAny(reason, "/\\") || strings.Contains(reason, "pgen") {
				t.Errorf("%s: %q of %v", name, reason, err)
			}
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: %v names no file", name, err)
			}
		}
	}
}

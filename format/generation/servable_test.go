package generation_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
)

func TestServable(t *testing.T) {
	dir := t.TempDir()
	records := gentest.Sequence(300)
	gentest.Publish(t, dir, 1, records)
	gentest.Write(t, gentest.Path(dir, 2), 1, records)
	touch(t, dir, generation.Name{ID: 3, Shards: 1}.String())
	touch(t, dir, generation.Name{ID: 4, Shards: 2}.String())
	touch(t, dir, generation.Name{ID: 5, Shards: 2}.String(), generation.Name{ID: 5, Shard: 1, Shards: 2}.String())
	gentest.Must(t, os.Symlink("nowhere", gentest.Path(dir, 6)))
	gentest.Must(t, os.Symlink(".", gentest.Path(dir, 7)))
	gentest.Overwrite(t, gentest.Publish(t, dir, 8, records), format.BlockOff(1), []byte("damage"))
	gentest.Flip(t, gentest.Publish(t, dir, 9, records), -1)

	list, err := generation.List(dir)
	gentest.Must(t, err)
	for i, c := range []struct {
		name          string
		index, blocks error // of Header and of Verify
	}{
		{"good", nil, nil},
		{"header of another generation", generation.ErrMisnamed, generation.ErrMisnamed},
		{"empty file", format.ErrFormat, format.ErrFormat},
		{"missing shard", generation.ErrIncomplete, generation.ErrIncomplete},
		{"two shards", format.ErrFormat, format.ErrFormat},
		{"dangling link", fs.ErrNotExist, fs.ErrNotExist},
		{"directory", fsx.ErrNotRegular, fsx.ErrNotRegular},
		{"damaged block", nil, format.ErrChecksum},
		{"damaged trailer", format.ErrChecksum, format.ErrChecksum},
	} {
		h, err := list[i].Header()
		if !errors.Is(err, c.index) || err == nil && h.Records != 300 {
			t.Errorf("%s: Header: %d records, %v, want %v", c.name, h.Records, err, c.index)
		}
		if err := list[i].Verify(t.Context()); !errors.Is(err, c.blocks) {
			t.Errorf("%s: Verify: %v, want %v", c.name, err, c.blocks)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := list[0].Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled Verify: %v, want %v", err, context.Canceled)
	}
}

// closer is a File that counts calls of Close.
type closer struct {
	header format.Header
	closed int
}

func (c *closer) Header() *format.Header          { return &c.header }
func (c *closer) Styles() []format.TimestampStyle { return nil }
func (c *closer) Close() error                    { c.closed++; return nil }

func TestOpenClosesRefusedFile(t *testing.T) {
	g := generation.Generation{ID: 1, Shards: 1, Files: []string{"path"}}
	for _, c := range []struct {
		header format.Header
		want   error
		closed int
	}{
		{format.Header{Generation: 1, Sharding: format.Unsharded}, nil, 0},
		{format.Header{Generation: 2, Sharding: format.Unsharded}, generation.ErrMisnamed, 1},
		{format.Header{Generation: 1, Sharding: format.Sharding{Rule: format.ShardLast, Shards: 16}}, generation.ErrMisnamed, 1},
		{format.Header{Generation: 1, Shard: 1, Sharding: format.Unsharded}, generation.ErrMisnamed, 1},
	} {
		f := &closer{header: c.header}
		_, err := generation.Open(g, generation.AllDigits, func(string) (*closer, error) { return f, nil })
		if !errors.Is(err, c.want) || f.closed != c.closed {
			t.Errorf("%+v: %v after %d calls of Close, want %v and %d", c.header, err, f.closed, c.want, c.closed)
		}
	}
}

// TestOpenAdvises checks that an error of a limit names the limit.
func TestOpenAdvises(t *testing.T) {
	g := generation.Generation{ID: 1, Shards: 1, Files: []string{"path"}}
	for errno, advice := range map[syscall.Errno]string{
		syscall.EMFILE: "; each shard needs an open file: raise the limit, ulimit -n",
		syscall.ENFILE: "; each shard needs an open file: raise the limit of the machine, sysctl fs.file-max",
		syscall.EACCES: "",
	} {
		cause := &os.PathError{Op: "open", Path: "path", Err: errno}
		_, err := generation.Open(g, generation.AllDigits, func(string) (*closer, error) { return nil, cause })
		if !errors.Is(err, errno) || err.Error() != cause.Error()+advice {
			t.Errorf("%v: %v, want the advice %q", errno, err, advice)
		}
	}
}

// TestOpenChecksRule opens files whose headers could not be read before. They have
// another sharding rule than the one that selected them.
func TestOpenChecksRule(t *testing.T) {
	g := generation.Generation{ID: 1, Shards: 32}
	for shard := range g.Shards {
		g.Files = append(g.Files, generation.Name{ID: g.ID, Shard: shard, Shards: g.Shards}.String()) // no such file
	}
	for _, c := range []struct {
		rule   format.ShardRule
		digits generation.Digits
		want   error
	}{
		{format.ShardLast, 1, nil},
		{format.ShardFirst, 1, generation.ErrDisagree},
		{format.ShardFirst, 1 << 15, generation.ErrDisagree},
		{format.ShardFirst, generation.AllDigits, nil},
	} {
		var opened []*closer
		_, err := generation.Open(g, c.digits, func(path string) (*closer, error) {
			name, err := generation.ParseName(path)
			f := &closer{header: format.Header{Generation: 1, Shard: uint32(name.Shard), Sharding: format.Sharding{Rule: c.rule, Shards: 32}}}
			opened = append(opened, f)
			return f, err
		})
		if !errors.Is(err, c.want) {
			t.Errorf("rule %s, digits %s: %v, want %v", c.rule, c.digits, err, c.want)
		}
		for _, f := range opened {
			if (f.closed == 1) != (c.want != nil) {
				t.Errorf("rule %s, digits %s: %d calls of Close after %v", c.rule, c.digits, f.closed, err)
			}
		}
	}
}

func TestFirst(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	bad := errors.New("bad")
	list := []generation.Generation{{ID: 1}, {ID: 2}, {ID: 3}}
	below := func(limit generation.ID) func(generation.Generation) error {
		return func(g generation.Generation) error {
			if g.ID < limit {
				return fmt.Errorf("%s: %w", g.ID, bad)
			}
			return nil
		}
	}
	if g, err := generation.First(ctx, list, below(2)); err != nil || g.ID != 2 {
		t.Errorf("First: %s, %v, want %s", g.ID, err, list[1].ID)
	}
	if _, err := generation.First(ctx, list, below(9)); !errors.Is(err, generation.ErrNoneServable) || !errors.Is(err, bad) {
		t.Errorf("First of bad candidates: %v, want %v and the reason", err, generation.ErrNoneServable)
	}
	if _, err := generation.First(ctx, nil, below(0)); !errors.Is(err, generation.ErrNoneServable) {
		t.Errorf("First without candidates: %v, want %v", err, generation.ErrNoneServable)
	}
	tooMany := func(g generation.Generation) error {
		if g.ID == 1 {
			return &os.PathError{Op: "open", Path: "file", Err: syscall.EMFILE}
		}
		return nil
	}
	if g, err := generation.First(ctx, list, tooMany); !errors.Is(err, syscall.EMFILE) || errors.Is(err, generation.ErrNoneServable) {
		t.Errorf("First with too many open files: %s, %v, want %v", g.ID, err, syscall.EMFILE)
	}
	cancel()
	if _, err := generation.First(ctx, list, below(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled First: %v, want %v", err, context.Canceled)
	}
}

func TestLive(t *testing.T) {
	dir := t.TempDir()
	want := func(id generation.ID, when string) {
		t.Helper()
		g, h, err := new(generation.Checker).Live(dir)
		if id == 0 {
			if !errors.Is(err, generation.ErrNoneServable) {
				t.Errorf("%s: generation %s, %v, want %v", when, g.ID, err, generation.ErrNoneServable)
			}
			return
		}
		if err != nil || g.ID != id || h.Records != uint64(id) {
			t.Errorf("%s: generation %s of %d records, %v, want %s", when, g.ID, h.Records, err, id)
		}
	}
	pin := func(text string) {
		t.Helper()
		gentest.Must(t, os.WriteFile(filepath.Join(dir, generation.PinName), []byte(text), 0o644))
	}
	want(0, "empty directory")
	for id := generation.ID(1); id <= 3; id++ {
		gentest.Publish(t, dir, id, gentest.Sequence(int(id)))
	}
	want(3, "no pin")
	touch(t, dir, generation.Name{ID: 4, Shards: 1}.String())
	want(3, "the newest is bad")
	touch(t, dir, generation.Name{ID: 5, Shards: 2}.String())
	want(3, "the newest is incomplete")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(1)))
	want(1, "pinned")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(4)))
	want(3, "the pinned one is bad")
	pin(fmt.Sprintf(`{"generation":"%s"}`, generation.ID(9)))
	want(3, "the pinned one is absent")
	pin("{")
	want(3, "unreadable pin")
	pin(`{"generation":""}`)
	want(3, "unpinned")
	gentest.Must(t, os.RemoveAll(dir))
	want(0, "missing directory")
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, generation.Name{ID: 1, Shards: 1}.String())
	touch(t, dir, generation.Name{ID: 1, Shards: 2}.String()) // the same ID in two sets
	touch(t, dir, generation.Name{ID: 2, Shards: 2}.String())
	touch(t, dir, generation.Name{ID: 3, Shards: 2}.String(), generation.Name{ID: 3, Shard: 1, Shards: 2}.String())
	touch(t, dir, generation.Name{ID: 5, Shards: 1}.String()) // complete in two sets, of which servers prefer the second
	touch(t, dir, shardNames(5)...)
	for _, c := range []struct {
		id     generation.ID
		shards int
		want   error
	}{{1, 1, nil}, {2, 0, generation.ErrIncomplete}, {3, 2, nil}, {4, 0, generation.ErrAbsent}, {5, 16, nil}} {
		g, err := generation.Find(dir, c.id, generation.AllDigits)
		if !errors.Is(err, c.want) || err == nil && (g.ID != c.id || g.Shards != c.shards) {
			t.Errorf("Find(%s): %+v, %v, want %d shards, %v", c.id, g, err, c.shards, c.want)
		}
	}
}

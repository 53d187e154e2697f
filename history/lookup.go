package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// An Entry is the record of one generation for an id.
type Entry struct {
	ID     generation.ID
	Live   bool
	Pinned bool
	Found  bool
	Record format.Record           // if Found
	Styles []format.TimestampStyle // dictionary of Record
	Err    error                   // why the record cannot be read
}

// Lookup returns the record that each of the newest MaxGenerations generations of d
// has for a key. It opens one file at a time. omitted is the number of older
// generations.
func (d Directory) Lookup(ctx context.Context, key format.Key) (entries []Entry, omitted int, err error) {
	list, omitted, err := d.list()
	if err != nil {
		return nil, 0, err
	}
	for _, g := range list {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		began := time.Now()
		e := Entry{ID: g.ID, Live: d.isLive(g), Pinned: d.isPinned(g)}
		e.Record, e.Styles, e.Found, e.Err = get(g, key)
		d.pause(time.Since(began))
		if errors.Is(e.Err, fs.ErrNotExist) { // Prune has removed it
			continue
		}
		entries = append(entries, e)
	}
	return entries, omitted, nil
}

// get returns the record of key in g. It reads the file of one shard.
func get(g generation.Generation, key format.Key) (r format.Record, styles []format.TimestampStyle, found bool, err error) {
	f, x, err := openShardOf(g, key)
	if err != nil {
		return r, nil, false, err
	}
	defer f.Close()
	if r, found, err = x.Get(f, key); err != nil {
		return format.Record{}, nil, false, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, x.Styles, found, nil
}

// openShardOf opens the file of the shard of key.
func openShardOf(g generation.Generation, key format.Key) (*os.File, *format.Index, error) {
	s := format.Unsharded
	if g.Shards > 1 {
		s = format.Sharding{Rule: ruleOf(g), Shards: uint32(g.Shards)}
	}
	if !s.Valid() {
		return nil, nil, fmt.Errorf("%w: no generation has %d files", generation.ErrDisagree, g.Shards)
	}
	shard := int(s.ShardOf(key))
	path := g.Path(shard)
	if path == "" {
		return nil, nil, &generation.IncompleteError{ID: g.ID, Shards: g.Shards, Missing: []int{shard}}
	}
	f, x, err := openHead(generation.Name{ID: g.ID, Shard: shard, Shards: g.Shards}, path)
	if err == nil && x.Sharding != s {
		f.Close()
		err = fmt.Errorf("%s: %w: its sharding rule is %s, not %s", path, generation.ErrDisagree, x.Rule, s.Rule)
	}
	return f, x, err
}

// ruleOf returns the sharding rule in the first good header of g. Without one it is
// format.ShardLast.
func ruleOf(g generation.Generation) format.ShardRule {
	for _, path := range g.Files {
		h, err := readHeader(path)
		if err == nil && generation.ID(h.Generation) == g.ID && int(h.Shards) == g.Shards {
			return h.Rule
		}
	}
	return format.ShardLast
}

// openHead opens a file whose header must agree with its name.
func openHead(name generation.Name, path string) (*os.File, *format.Index, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, nil, generation.AdviseOpen(err)
	}
	var x *format.Index
	info, err := f.Stat()
	if err == nil {
		x, err = format.OpenHead(f, info.Size())
	}
	if err == nil {
		err = name.CheckHeader(&x.Header)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, x, nil
}

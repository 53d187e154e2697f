package builder

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"syscall"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
)

// An output writes the files of the generation. It implements extsort.Sink.
type output struct {
	b        *build
	pending  *generation.Pending
	shards   []*shardWriter
	styles   []format.TimestampStyle
	renumber []uint16      // new number of each style; nil if none changes
	header   format.Header // of the generation, once the files are complete
}

// start starts the files of at most maxRecords records together. All rows must have
// been read, so that the styles are known. buffers are for direct writes, or nil.
//
// Any shard may get all records. The file of a shard is sparse until it is complete.
func (o *output) start(maxRecords uint64, buffers extsort.WriteBuffers) error {
	for i := range int(o.b.Sharding.Shards) {
		s, err := newShardWriter(o.pending.File(i), maxRecords, buffers)
		if err != nil {
			return o.b.explainFiles(err)
		}
		o.shards = append(o.shards, s)
	}
	o.styles, o.renumber = sortStyles(o.b.styles.styles)
	return nil
}

// explainFiles adds the number of open files to an error of the limit.
func (b *build) explainFiles(err error) error {
	if !errors.Is(err, syscall.EMFILE) {
		return err
	}
	return fmt.Errorf("%d shards need up to %d open files; raise the limit (ulimit -n) or build fewer shards: %w", b.Sharding.Shards, 2*b.Sharding.Shards, err)
}

// Prepare sets the final numbers of the timestamp styles.
func (o *output) Prepare(records []format.Record) {
	if o.renumber == nil {
		return
	}
	for i := range records {
		records[i].SetStyle(o.renumber[records[i].Style()])
	}
}

// Reserve reserves the places of a batch in the files of its shards.
func (o *output) Reserve(records []format.Record) (write func() error, err error) {
	n := int64(len(records))
	var parts []part
	for len(records) > 0 {
		shard := o.b.Sharding.ShardOf(records[0].Key())
		end := sort.Search(len(records), func(i int) bool { return o.b.Sharding.ShardOf(records[i].Key()) != shard })
		p, err := o.shards[shard].reserve(records[:end])
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		records = records[end:]
	}
	return func() error {
		for _, p := range parts {
			if err := p.write(); err != nil {
				return err
			}
		}
		o.b.progress.update(func(s *Status) { s.Records += n })
		return nil
	}, nil
}

// finish completes the files. duplicates has the number of each shard. Bad rows
// belong to no shard; the first one counts them.
func (o *output) finish(duplicates []int64) error {
	var headers []*format.Header
	for i, s := range o.shards {
		h := format.Header{
			Sharding:   o.b.Sharding,
			Shard:      uint32(i),
			Duplicates: uint64(duplicates[i]),
			Generation: int64(o.b.Generation),
		}
		if i == 0 {
			h.BadRows = uint64(o.b.rows.badCount)
		}
		if err := s.finish(h, o.styles); err != nil {
			return err
		}
		headers = append(headers, &s.header)
	}
	o.header = generation.Sum(headers...)
	return nil
}

// open returns the complete files, which remain open.
func (o *output) open() (*generation.Set, error) {
	set := &generation.Set{Header: o.header}
	for _, s := range o.shards {
		x, err := format.Open(s.file, s.header.FileLen)
		if err != nil {
			return nil, fmt.Errorf("generation file: %w", err)
		}
		set.Files = append(set.Files, generation.Indexed{File: s.file, Index: x})
	}
	return set, nil
}

// largest returns the shard with the most records, the first if there are several.
func (o *output) largest() *ShardSize {
	largest := &ShardSize{}
	for i, s := range o.shards {
		if n := int64(s.header.Records); n > largest.Records {
			*largest = ShardSize{i, n}
		}
	}
	return largest
}

// close closes the direct writers.
func (o *output) close() (err error) {
	for _, s := range o.shards {
		err = errors.Join(err, s.close())
	}
	return err
}

// writeBack writes the files from the page cache to the disk.
func (o *output) writeBack(ctx context.Context) error {
	for _, s := range o.shards {
		if err := s.writeBack(ctx); err != nil {
			return err
		}
	}
	return nil
}

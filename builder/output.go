package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"

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

// A shardWriter writes the file of one shard.
type shardWriter struct {
	file   *os.File
	direct *extsort.DirectWriter // of file; nil if all data goes through the page cache
	w      *format.Writer        // nil once the file is complete
	header format.Header         // once the file is complete
}

// shardMemory is the memory of a shardWriter in bytes: a block of records, and
// the state of two open files in the runtime.
const shardMemory = format.BlockLen + 1<<10

// start starts the files of at most maxRecords records together. All rows must have
// been read, so that the styles are known. buffers are for direct writes, or nil.
//
// Any shard may get all records. The file of a shard is sparse until it is complete.
func (o *output) start(maxRecords uint64, buffers extsort.WriteBuffers) error {
	for i := range int(o.b.Sharding.Shards) {
		s := &shardWriter{file: o.pending.File(i)}
		o.shards = append(o.shards, s)
		var file format.File = s.file
		if buffers != nil {
			var err error
			if s.direct, err = extsort.NewDirectWriter(s.file, buffers); err != nil {
				return o.b.explainFiles(err)
			}
			file = s.direct
		}
		s.w = format.NewWriter(file, maxRecords)
	}
	o.styles, o.renumber = o.b.styles.sorted()
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

// A part is the records of a batch that belong to one shard.
type part struct {
	shard *shardWriter
	batch format.Batch
}

// Reserve reserves the places of a batch in the files of its shards.
func (o *output) Reserve(records []format.Record) (write func() error, err error) {
	n := int64(len(records))
	var parts []part
	for len(records) > 0 {
		shard := o.b.Sharding.ShardOf(records[0].Key())
		end := sort.Search(len(records), func(i int) bool { return o.b.Sharding.ShardOf(records[i].Key()) != shard })
		s := o.shards[shard]
		batch, err := s.w.Reserve(records[:end])
		if err != nil {
			return nil, fmt.Errorf("BUG: %w", err)
		}
		parts = append(parts, part{s, batch})
		records = records[end:]
	}
	return func() error {
		for _, p := range parts {
			if err := p.write(); err != nil {
				return fmt.Errorf("generation file: %w", err)
			}
		}
		o.b.progress.update(func(s *Status) { s.Records += n })
		return nil
	}, nil
}

func (p part) write() error {
	if err := p.batch.Write(); err != nil {
		return err
	}
	if p.shard.direct == nil {
		// Start to write back now, so that the sync at the end has less to do.
		off, n := p.batch.Range()
		// The sync reports an error of the disk.
		_ = unix.SyncFileRange(int(p.shard.file.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
	}
	return nil
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
		var err error
		if s.header, err = s.w.Finish(h, o.styles); err != nil {
			return fmt.Errorf("generation file: %w", err)
		}
		s.w = nil // frees a block of records, 16 MiB for the most shards
		if err := s.file.Truncate(s.header.FileLen); err != nil {
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
		if s.direct != nil {
			err = errors.Join(err, s.direct.Close())
		}
	}
	return err
}

// writeBack writes the files from the page cache to the disk. The following sync,
// which cannot be canceled, then has little left to do.
func (o *output) writeBack(ctx context.Context) error {
	const step = 64 << 20
	for _, s := range o.shards {
		for off := int64(0); off < s.header.FileLen; off += step {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// The sync reports an error of the disk.
			_ = unix.SyncFileRange(int(s.file.Fd()), off, step, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
		}
	}
	return nil
}

package builder

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
)

// generationSink writes the generation file.
type generationSink struct {
	b        *build
	file     *generation.Pending
	direct   *directWriter // of file; nil if all is written through the page cache
	w        *format.Writer
	styles   []format.TimestampStyle
	renumber []uint16 // nil: the identity
	header   format.Header
}

// start is called once every row is read, when the zones are known. buffers
// are for direct writes; without them there are none.
func (g *generationSink) start(maxRecords uint64, buffers [][]byte) error {
	var file format.File = g.file
	if len(buffers) > 0 {
		var err error
		if g.direct, err = newDirectWriter(g.file.File, buffers); err != nil {
			return err
		}
		file = g.direct
	}
	g.w = format.NewWriter(file, maxRecords)
	g.styles, g.renumber = g.b.styles.sorted()
	return nil
}

func (g *generationSink) prepare(records []format.Record) {
	if g.renumber == nil {
		return
	}
	for i := range records {
		records[i].SetStyle(g.renumber[records[i].Style()])
	}
}

func (g *generationSink) place(records []format.Record) (func() error, error) {
	batch, err := g.w.Reserve(records)
	if err != nil {
		return nil, fmt.Errorf("BUG: %w", err)
	}
	return func() error {
		if err := batch.Write(); err != nil {
			return fmt.Errorf("generation file: %w", err)
		}
		if g.direct == nil {
			// Start to write back now: otherwise the sync at the end has all to do.
			off, n := batch.Range()
			// An error here comes back from the sync.
			_ = unix.SyncFileRange(int(g.file.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
		}
		g.b.observe(func(st *Status) { st.Records += int64(len(records)) })
		return nil
	}, nil
}

func (g *generationSink) finish() error {
	if err := g.b.dedup.err(); err != nil {
		return err
	}
	h := format.Header{
		Shards:     1,
		Duplicates: uint64(g.b.dedup.count),
		BadRows:    uint64(g.b.badCount),
		Generation: int64(g.b.Generation),
	}
	var err error
	if g.header, err = g.w.Finish(h, g.styles); err != nil {
		return fmt.Errorf("generation file: %w", err)
	}
	return g.file.Truncate(g.header.FileLen)
}

func (g *generationSink) close() error {
	if g.direct == nil {
		return nil
	}
	return g.direct.close()
}

// writeBack brings the first n bytes of a file to the disk, so that the sync
// behind it, which nothing can stop, has little left to do.
func writeBack(ctx context.Context, file *os.File, n int64) error {
	const piece = 64 << 20
	for off := int64(0); off < n; off += piece {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// An error here comes back from the sync.
		_ = unix.SyncFileRange(int(file.Fd()), off, piece, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
	return nil
}

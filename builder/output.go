package builder

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
)

// An output writes the generation file. It implements extsort.Sink.
type output struct {
	b        *build
	file     *generation.Pending
	direct   *extsort.DirectWriter // of file; nil if all data goes through the page cache
	w        *format.Writer
	styles   []format.TimestampStyle
	renumber []uint16 // new number of each style; nil if none changes
	header   format.Header
}

// start starts a file of at most maxRecords records. All rows must have been
// read, so that the styles are known. buffers are for direct writes, or nil.
func (o *output) start(maxRecords uint64, buffers extsort.WriteBuffers) error {
	var file format.File = o.file.File(0)
	if buffers != nil {
		var err error
		if o.direct, err = extsort.NewDirectWriter(o.file.File(0), buffers); err != nil {
			return err
		}
		file = o.direct
	}
	o.w = format.NewWriter(file, maxRecords)
	o.styles, o.renumber = o.b.styles.sorted()
	return nil
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

// Reserve reserves the place of a batch in the file.
func (o *output) Reserve(records []format.Record) (write func() error, err error) {
	batch, err := o.w.Reserve(records)
	if err != nil {
		return nil, fmt.Errorf("BUG: %w", err)
	}
	return func() error {
		if err := batch.Write(); err != nil {
			return fmt.Errorf("generation file: %w", err)
		}
		if o.direct == nil {
			// Start to write back now, so that the sync at the end has less to do.
			off, n := batch.Range()
			// The sync reports an error of the disk.
			_ = unix.SyncFileRange(int(o.file.File(0).Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
		}
		o.b.progress.update(func(s *Status) { s.Records += int64(len(records)) })
		return nil
	}, nil
}

// finish completes the file.
func (o *output) finish(duplicates int64) error {
	h := format.Header{
		Sharding:   format.Unsharded,
		Duplicates: uint64(duplicates),
		BadRows:    uint64(o.b.rows.badCount),
		Generation: int64(o.b.Generation),
	}
	var err error
	if o.header, err = o.w.Finish(h, o.styles); err != nil {
		return fmt.Errorf("generation file: %w", err)
	}
	return o.file.File(0).Truncate(o.header.FileLen)
}

func (o *output) close() error {
	if o.direct == nil {
		return nil
	}
	return o.direct.Close()
}

// writeBack writes the first n bytes of a file from the page cache to the disk.
// The following sync, which cannot be canceled, then has little left to do.
func writeBack(ctx context.Context, file *os.File, n int64) error {
	const step = 64 << 20
	for off := int64(0); off < n; off += step {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// The sync reports an error of the disk.
		_ = unix.SyncFileRange(int(file.Fd()), off, step, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
	return nil
}

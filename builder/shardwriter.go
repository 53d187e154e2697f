package builder

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"promostore/builder/extsort"
	"promostore/format"
)

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

// newShardWriter returns a writer of at most maxRecords records to file, which is
// sparse until it is complete. buffers are for direct writes, or nil.
func newShardWriter(file *os.File, maxRecords uint64, buffers extsort.WriteBuffers) (*shardWriter, error) {
	s := &shardWriter{file: file}
	var f format.File = file
	if buffers != nil {
		var err error
		if s.direct, err = extsort.NewDirectWriter(file, buffers); err != nil {
			return nil, err
		}
		f = s.direct
	}
	s.w = format.NewWriter(f, maxRecords)
	return s, nil
}

// close closes the direct writer.
func (s *shardWriter) close() error {
	if s.direct == nil {
		return nil
	}
	return s.direct.Close()
}

// A part is the records of a batch that belong to one shard.
type part struct {
	shard *shardWriter
	batch format.Batch
}

// reserve reserves the place of records in the file.
func (s *shardWriter) reserve(records []format.Record) (part, error) {
	batch, err := s.w.Reserve(records)
	if err != nil {
		return part{}, fmt.Errorf("BUG: %w", err)
	}
	return part{s, batch}, nil
}

func (p part) write() error {
	if err := p.batch.Write(); err != nil {
		return fmt.Errorf("generation file: %w", err)
	}
	if p.shard.direct == nil {
		// Start to write back now, so that the sync at the end has less to do.
		off, n := p.batch.Range()
		// The sync reports an error of the disk.
		_ = unix.SyncFileRange(int(p.shard.file.Fd()), off, n, unix.SYNC_FILE_RANGE_WRITE)
	}
	return nil
}

// finish completes the file. See format.Writer.Finish.
func (s *shardWriter) finish(h format.Header, styles []format.TimestampStyle) (err error) {
	if s.header, err = s.w.Finish(h, styles); err != nil {
		return fmt.Errorf("generation file: %w", err)
	}
	s.w = nil // frees a block of records, 16 MiB for the most shards
	return s.file.Truncate(s.header.FileLen)
}

// writeBack writes the file from the page cache to the disk. The following sync,
// which cannot be canceled, then has little left to do.
func (s *shardWriter) writeBack(ctx context.Context) error {
	const step = 64 << 20
	for off := int64(0); off < s.header.FileLen; off += step {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// The sync reports an error of the disk.
		_ = unix.SyncFileRange(int(s.file.Fd()), off, step, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
	return nil
}

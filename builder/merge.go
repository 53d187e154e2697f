package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sync/errgroup"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// MergeOptions configures a merge.
type MergeOptions struct {
	// Runs are the paths of generation files of one shard, in the order of their
	// inputs, which decides between duplicates. Merge does not change them.
	Runs []string

	// Out is the path of the merged file. It must not exist. If the process is
	// killed, an incomplete file remains, so that servers must not know the name.
	Out string

	Memory     int64      // bytes; at least MinMemory
	Workers    int        // goroutines that sort and write; 0: one for each processor
	Duplicates Duplicates // the policy of the builds of the runs

	// Observe, if not nil, is called at the start of each phase and then often.
	// Calls do not overlap. Observe must not block.
	Observe func(Status)
}

// ErrForeignRun means that a run is of another generation, sharding or shard than
// the first run.
var ErrForeignRun = errors.New("not a run of the same shard")

// ErrRecords means that the runs have more records than a file can hold.
var ErrRecords = errors.New("too many records for one file")

// A RunError reports a run that cannot be merged. It wraps ErrForeignRun, an error
// of package format if the run is damaged, or an error of the file system.
type RunError = extsort.FileError

// Merge merges generation files of one shard into one file, durably, and returns its
// header. If the runs are the files of this shard in builds that divide the rows
// among them, the result is the file in one build of all rows, byte for byte. If
// Merge fails or ctx is done, no file remains.
//
// See MergeMemory for the memory. Merge has one open file for each run.
//
// The errors to check for are *RunError, *DuplicatesError, *SpaceError, ErrRecords,
// ErrStyles, ErrMemory, and those of the file system.
func Merge(ctx context.Context, opts MergeOptions) (format.Header, error) {
	m := &merge{MergeOptions: opts}
	m.progress.observe = opts.Observe
	return m.merge(ctx)
}

// MergeMemory returns a MergeOptions.Memory that is enough for this number of runs,
// which have this number of records together: 64 MiB per 300 M records, and 128 KiB for
// each run, but at least MinMemory.
func MergeMemory(runs int, records int64) int64 {
	return max(MinMemory, extsort.MergeMemory(runs, records))
}

// A merge is one call of Merge. It implements extsort.Sink.
type merge struct {
	MergeOptions
	sizes    extsort.Sizes // chosen from Memory if zero
	progress progress
	files    []extsort.File
	header   format.Header // of the merged file before duplicates are removed
	styles   styleUnion
	out      *shardWriter
}

func (m *merge) merge(ctx context.Context) (h format.Header, err error) {
	if err := m.check(); err != nil {
		return h, err
	}
	defer func() {
		for _, f := range m.files {
			if f.File != nil {
				err = errors.Join(err, f.Close())
			}
		}
	}()
	if err := m.openRuns(ctx); err != nil {
		return h, m.explainFiles(err)
	}
	if err := m.sumHeaders(); err != nil {
		return h, err
	}
	if err := CheckSpace(filepath.Dir(m.Out), fileLen(int64(m.header.Records))); err != nil {
		return h, err
	}
	file, err := os.OpenFile(m.Out, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return h, m.explainFiles(err)
	}
	err = m.write(ctx, file)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsx.SyncDir(filepath.Dir(m.Out))
	}
	if err != nil {
		return h, errors.Join(err, os.Remove(m.Out))
	}
	m.progress.end()
	return m.out.header, nil
}

// check checks the options and fills in the defaults.
func (m *merge) check() error {
	if len(m.Runs) == 0 {
		return errors.New("no runs to merge")
	}
	if m.Memory < MinMemory {
		return fmt.Errorf("%w: %d bytes, less than the minimum of %d", ErrMemory, m.Memory, MinMemory)
	}
	if m.Workers <= 0 {
		m.Workers = runtime.GOMAXPROCS(0)
	}
	return nil
}

// explainFiles adds the number of open files to an error of the limit.
func (m *merge) explainFiles(err error) error {
	if !errors.Is(err, syscall.EMFILE) {
		return err
	}
	return fmt.Errorf("a merge of %d runs needs as many open files and some more; raise the limit (ulimit -n): %w", len(m.Runs), err)
}

// openRuns opens the runs, several at the same time, and unites their styles.
func (m *merge) openRuns(ctx context.Context) error {
	const concurrent = 16
	m.files = make([]extsort.File, len(m.Runs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrent)
	for i, path := range m.Runs {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return m.openRun(&m.files[i], path)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	m.styles.sort()
	for i := range m.files {
		m.styles.renumber(&m.files[i].Renumber)
	}
	return nil
}

// openRun opens a run. Until all runs are open, Renumber has the numbers of its styles
// in the union.
func (m *merge) openRun(f *extsort.File, path string) (err error) {
	if f.File, err = fsx.OpenRegular(path); err != nil {
		if p, ok := errors.AsType[*os.PathError](err); ok && !errors.Is(err, syscall.EMFILE) {
			return &RunError{Path: path, Err: p.Err}
		}
		return err
	}
	info, err := f.Stat()
	if err == nil {
		f.Index, err = format.Open(f.File, info.Size())
	}
	if err != nil {
		return &RunError{Path: path, Err: err}
	}
	f.Renumber, err = m.styles.add(f.Index.Styles)
	f.Index.Styles = nil // 4,096 large dictionaries would not fit into memory
	return err
}

// sumHeaders sums up the headers of the runs, which must be those of one shard.
func (m *merge) sumHeaders() error {
	first := m.files[0].Index
	m.header = format.Header{Sharding: first.Sharding, Shard: first.Shard, Generation: first.Generation}
	sum := &m.header
	for i, f := range m.files {
		h := f.Index.Header
		if h.Sharding != sum.Sharding || h.Shard != sum.Shard || h.Generation != sum.Generation {
			return &RunError{Path: m.Runs[i], Err: fmt.Errorf("%w: %s, want %s like %s", ErrForeignRun, describe(&h), describe(sum), m.Runs[0])}
		}
		if sum.Rows+h.Rows < sum.Rows {
			return &RunError{Path: m.Runs[i], Err: fmt.Errorf("%w: %d rows", format.ErrCorrupt, h.Rows)}
		}
		sum.Rows += h.Rows
		sum.Records += h.Records
		sum.Duplicates += h.Duplicates
		sum.BadRows += h.BadRows
	}
	if sum.Records > format.MaxRecords {
		return fmt.Errorf("%w: %d, more than %d", ErrRecords, sum.Records, uint64(format.MaxRecords))
	}
	return nil
}

// describe names the shard of a header.
func describe(h *format.Header) string {
	return fmt.Sprintf("shard %d of %d (rule %s) of generation %s", h.Shard, h.Shards, h.Rule, generation.ID(h.Generation))
}

// write merges the runs into file and syncs it.
func (m *merge) write(ctx context.Context, file *os.File) (err error) {
	m.progress.status.Rows = int64(m.header.Records)
	m.progress.begin(PhaseMerge)
	sorter, err := extsort.NewFromFiles(ctx, m.sortConfig(), m.files)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sorter.Close()) }()
	if m.out, err = newShardWriter(file, m.header.Records, sorter.WriteBuffers()); err != nil {
		return m.explainFiles(err)
	}
	defer func() { err = errors.Join(err, m.out.close()) }()
	if err := sorter.Emit(ctx, m); err != nil {
		return err
	}
	counts, keys := sorter.Duplicates()
	m.header.Duplicates += uint64(counts[0])
	if m.Duplicates == FailOnDuplicate && m.header.Duplicates > 0 {
		return newDuplicatesError(int64(m.header.Duplicates), keys)
	}
	if err := m.out.finish(m.header, m.styles.styles); err != nil {
		return err
	}
	m.progress.begin(PhasePublish)
	if err := m.out.writeBack(ctx); err != nil {
		return err
	}
	return file.Sync()
}

func (m *merge) sortConfig() extsort.Config {
	c := extsort.Config{Sizes: m.sizes, Workers: m.Workers, KeepFirst: m.Duplicates != KeepLast}
	if m.Duplicates == FailOnDuplicate {
		c.MaxRepeated = maxShown
	}
	if c.Sizes == (extsort.Sizes{}) {
		const perRun = 1 << 10 // an Index, and the state of an open file in the runtime
		reserved := 0
		for _, f := range m.files {
			reserved += perRun + 2*len(f.Renumber)
		}
		c.Sizes = extsort.MergeSizes(m.Memory, int64(reserved))
	}
	return c
}

// Prepare does nothing.
func (m *merge) Prepare([]format.Record) {}

// Reserve reserves the place of records in the file.
func (m *merge) Reserve(records []format.Record) (write func() error, err error) {
	p, err := m.out.reserve(records)
	if err != nil {
		return nil, err
	}
	n := int64(len(records)) // Write changes p
	return func() error {
		err := p.write()
		m.progress.update(func(s *Status) { s.Records += n })
		return err
	}, nil
}

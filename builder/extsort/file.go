package extsort

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// Files. The blocks of a generation file are a run like those of a spill: sorted
// records, one of each key, in full blocks at multiples of directLen. Fences are the
// samples. A file belongs to others: its space is not released, and each block is
// verified whenever it is read.

// A File is a generation file that is merged as a run.
type File struct {
	*os.File               // open for reading
	Index    *format.Index // of the file; Styles may be nil
	Renumber []uint16      // the new number of each timestamp style; nil if none changes
}

// A FileError reports a File that cannot be read or is damaged. It wraps an error of
// package format or of the file system.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// concurrentLoads is the number of files whose fences are read at the same time.
const concurrentLoads = 16

// MergeMemory returns a memory in bytes that is enough to merge this number of files,
// which have this number of records together: 64 MiB per 300 M records, and 128 KiB for
// each file.
func MergeMemory(files int, records int64) int64 {
	return records/300*(64<<20)/1_000_000 + int64(files)<<17
}

// NewFromFiles returns a Sorter whose records are those of files, in the order of the
// files. It needs no Add and no Finish. Of cfg, it uses Sizes, Workers, KeepFirst and
// MaxRepeated.
//
// See MergeMemory for the memory. With more of it, more goroutines merge: each needs
// 32 KiB for each file of up to 500,000 records, and more for larger ones. Checksums
// take 8 bytes for each block of 128 records.
//
// The caller closes the files after the Sorter. In the meantime, the Sorter may
// change them to bypass the page cache.
func NewFromFiles(ctx context.Context, cfg Config, files []File) (*Sorter, error) {
	cfg.Sharding = format.Unsharded // the keys of one shard are sorted like those of an unsharded generation
	s := &Sorter{cfg: cfg, dedup: newDeduper(cfg)}
	for i := range files {
		f := &files[i]
		s.runs = append(s.runs, &run{
			file:    &directFile{f.File},
			off:     format.HeaderLen,
			n:       int64(f.Index.Records),
			checker: &checker{path: f.Name(), index: f.Index, renumber: f.Renumber},
		})
	}
	var err error
	if cfg.Sizes.Arena, err = chooseSteps(s.runs, cfg.Sizes, writers(cfg.Workers)); err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(concurrentLoads)
	for _, r := range s.runs {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return r.load(s.isCached())
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if s.arena, err = newArena(cfg.Sizes, 0); err != nil {
		return nil, err
	}
	return s, nil
}

// chooseSteps sets the steps of runs for as many goroutines as possible, up to
// workers: short steps take memory for samples, and long steps for the records around
// the ranges. It returns the bytes that remain for records.
func chooseSteps(runs []*run, s Sizes, workers int) (room int64, err error) {
	most, best := 0, 0
	for _, shift := range [...]int{0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7} { // from the steps of a spill to minStep and maxStep
		setSteps(runs, shift)
		free := (s.Arena - indexMemory(runs)) / format.RecordLen >> s.Page << s.Page // whole pages, in records
		if n, _, err := planMerge(int(free), workers, runs); err == nil && n > most {
			most, best, room = n, shift, free*format.RecordLen
		}
		if most == workers {
			break
		}
	}
	if most == 0 {
		return 0, fmt.Errorf("%w for the merge of %d files of %d records; %d MiB are enough", ErrMemory, len(runs), total(runs), MergeMemory(len(runs), total(runs))>>20+1)
	}
	setSteps(runs, best)
	return room, nil
}

// setSteps sets the step of each run to that of a spill, times 1<<shift.
func setSteps(runs []*run, shift int) {
	for _, r := range runs {
		step := stepFor(r.n) << max(shift, 0) >> max(-shift, 0)
		r.step = min(max(step/minStep*minStep, minStep), maxStep)
	}
}

// indexMemory returns the bytes for the samples and the checksums of runs: twice their
// size, because the heap can grow to that between two garbage collections.
func indexMemory(runs []*run) (n int64) {
	const sampleLen = format.KeyLen + 8 // with its place in the order of all samples
	for _, r := range runs {
		n += (r.n+r.step-1)/r.step*sampleLen + r.blocks()*format.ChecksumLen
	}
	return 2 * n
}

// blocks returns the number of blocks of a run.
func (r *run) blocks() int64 { return (r.n + directRecords - 1) / directRecords }

// load reads the samples and the checksums of a file.
func (r *run) load(cached bool) error {
	c := r.checker
	r.samples = make([]format.Key, 0, (r.n+r.step-1)/r.step)
	err := c.index.Fences(r.file.File, func(block int64, fence format.Key) {
		if block%(r.step/directRecords) == 0 {
			r.samples = append(r.samples, fence)
		}
	})
	if err != nil {
		return c.error(err)
	}
	c.sums = make([]uint32, 0, r.blocks())
	err = c.index.Checksums(r.file.File, func(_ int64, sum uint32) { c.sums = append(c.sums, sum) })
	if err != nil {
		return c.error(err)
	}
	if !cached {
		r.file = newDirectFile(r.file.File)
	}
	return nil
}

// A checker verifies the blocks of a file and renumbers their styles.
type checker struct {
	path     string
	index    *format.Index
	sums     []uint32 // of the blocks
	renumber []uint16 // nil if no style changes
}

func (c *checker) error(err error) error { return &FileError{c.path, err} }

// check verifies blocks, which begin with record lo of r, after a read that returned
// n and err. lo and the end are those of samples or of the run.
func (c *checker) check(r *run, blocks []format.Record, lo int64, n int, err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: at offset %d: end of file, want %d more bytes", format.ErrTruncated, r.off+lo*format.RecordLen+int64(n), len(blocks)*format.RecordLen-n)
	}
	if err != nil {
		return c.error(err)
	}
	fence, end := r.samples[lo/r.step], min(lo+int64(len(blocks)), r.n)
	for at := lo; at < end; at += directRecords {
		block := blocks[at-lo : at-lo+directRecords]
		var next format.Key
		switch {
		case at+directRecords < end:
			next = blocks[at-lo+directRecords].Key()
		case end < r.n:
			next = r.samples[end/r.step]
		}
		if err := c.index.CheckBlock(at/directRecords, format.Bytes(block), fence, next, c.sums[at/directRecords]); err != nil {
			return c.error(err)
		}
		fence = next
	}
	if c.renumber != nil {
		for i := range blocks[:end-lo] {
			blocks[i].SetStyle(c.renumber[blocks[i].Style()])
		}
	}
	return nil
}

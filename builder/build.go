package builder

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/builder/extsort"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/sysmem"
)

// sizes divides the memory of a build.
type sizes struct {
	chunk int // bytes of input that are parsed at once; the longest row
	part  int // bytes of an object that are requested at once; 0: objectParts of the plan
	sort  extsort.Sizes
}

// sizesFor divides memory bytes for this number of workers.
func sizesFor(memory int64, workers int) sizes {
	const chunk = 256 << 10 // stays in the second-level cache from the read to the parse
	const perWorker = chunk + chunk/minRowLen*format.RecordLen
	return sizes{chunk: chunk, sort: extsort.SizesFor(memory, workers, int64(workers*perWorker))}
}

// A build is one call of Build.
type build struct {
	Options
	sizes    sizes // chosen from Memory and Workers if zero
	started  time.Time
	progress progress
	plan     lanePlan
	lanes    *lanes
	styles   styleDictionary
	rows     rowCounter // gets the chunks of a lane in their order
	sorter   *extsort.Sorter
	summary  Summary
}

// Build builds one generation of the inputs and publishes it. If it fails or ctx
// is done, it publishes nothing and removes its temporary files.
//
// The errors to check for are *BadRowsError, *DuplicatesError, *GuardError,
// *ContentError, *SpaceError, *CompressionError, *KindError, *ChangedError,
// *LastRowError, ErrUnterminated, ErrEmpty, ErrExpansion, ErrNoRows, ErrStyles,
// ErrWindow, ErrMemory, generation.ErrLocked, generation.ErrFuture, and those of the
// file system and of the inputs.
func Build(ctx context.Context, opts Options) (Summary, error) {
	b := &build{Options: opts}
	return b.build(ctx)
}

func (b *build) build(ctx context.Context) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the goroutines of cancelable readers and writers
	defer cancel()
	b.started = time.Now()
	if err := b.check(); err != nil {
		return Summary{}, err
	}
	w, err := generation.OpenWriter(b.Dir)
	if err != nil {
		return Summary{}, err
	}
	defer w.Close()
	renew := b.Generation == 0
	if renew {
		if b.Generation, err = w.Next(b.started); err != nil {
			return Summary{}, err
		}
	}
	if !renew && !b.AllowFuture && b.Generation.IsFuture(b.started) {
		return Summary{}, fmt.Errorf("generation %s: %w", b.Generation, generation.ErrFuture)
	}
	pending, err := w.Create(b.Generation, b.Sharding)
	if err != nil {
		return Summary{}, b.explainFiles(err)
	}
	err = b.run(ctx, pending, renew)
	if derr := pending.Discard(); err == nil {
		err = derr
	}
	if err != nil {
		return Summary{}, err
	}
	return b.summary, nil
}

// check checks the options and fills in the defaults.
func (b *build) check() error {
	if b.Delimiter == 0 {
		b.Delimiter = ','
	}
	if !ValidDelimiter(b.Delimiter) {
		return fmt.Errorf("delimiter %q: can be part of a field", b.Delimiter)
	}
	if b.TempDir == "" {
		b.TempDir = b.Dir
	}
	if b.Memory < MinMemory {
		return fmt.Errorf("%w: %d bytes, less than the minimum of %d", ErrMemory, b.Memory, MinMemory)
	}
	if b.Workers <= 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	// The buffers of a worker take about 5 MiB. Most of the memory is for records.
	b.Workers = min(b.Workers, int(b.Memory>>24))
	if b.Sharding == (format.Sharding{}) {
		b.Sharding = format.Unsharded
	}
	if err := b.Sharding.Check(); err != nil {
		return err
	}
	b.plan = planLanes(&b.Options)
	if b.sizes == (sizes{}) {
		memory := b.Memory - b.plan.memory
		if b.Sharding.Shards > 1 {
			memory -= int64(b.Sharding.Shards) * shardMemory
		}
		b.sizes = sizesFor(memory, b.Workers)
	}
	if b.sizes.part > 0 {
		b.plan.parts.len = b.sizes.part
	}
	size, err := inputSize(b.Inputs)
	if err != nil {
		return err
	}
	b.progress.observe = b.Observe
	b.progress.status.InputSize = size
	return nil
}

// run builds and publishes a generation. If renew is set, its ID may change to the
// time of publication.
func (b *build) run(ctx context.Context, pending *generation.Pending, renew bool) (err error) {
	b.sorter, err = extsort.New(b.sortConfig())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.sorter.Close()) }()
	if err := b.checkInputSpace(); err != nil {
		return err
	}
	if err := b.read(ctx); err != nil {
		return err
	}
	if err := b.checkRecords(b.rows.good(), true); err != nil { // fail before the sort if possible
		return err
	}
	out := &output{b: b, pending: pending}
	defer func() { err = errors.Join(err, out.close()) }()
	if err := b.sort(ctx, out); err != nil {
		return err
	}
	if err := b.publish(ctx, out, renew); err != nil {
		return err
	}
	b.summarize(out)
	return nil
}

func (b *build) sortConfig() extsort.Config {
	c := extsort.Config{
		Sizes:       b.sizes.sort,
		Workers:     b.Workers,
		Lanes:       b.plan.lanes,
		Dir:         b.TempDir,
		KeepFirst:   b.Duplicates != KeepLast,
		Sharding:    b.Sharding,
		BeforeSpill: b.checkRecordSpace,
	}
	if b.Duplicates == FailOnDuplicate {
		c.MaxRepeated = maxShown
	}
	return c
}

// read parses the inputs and adds their records to the sort.
func (b *build) read(ctx context.Context) error {
	b.progress.begin(PhaseRead)
	if err := b.rows.start(ctx, &b.Options, b.plan.lanes); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	defer b.sorter.AbortAfter(ctx)()
	b.lanes = newLanes(ctx, &b.Options, b.plan)
	for range b.Workers {
		g.Go(func() error { return b.readChunks(ctx) })
	}
	if err := errors.Join(g.Wait(), b.lanes.close()); err != nil {
		return err
	}
	if err := b.lanes.checkUnchanged(); err != nil { // it may be why rows are bad
		return err
	}
	return b.rows.finish()
}

// readChunks is one worker: it reads, parses and adds chunks until the input
// ends.
func (b *build) readChunks(ctx context.Context) error {
	t := newTaker(b.sizes.chunk)
	p := newParser(b.Delimiter, &b.styles, b.sizes.chunk)
	adder := b.sorter.NewAdder()
	for {
		ok, err := b.lanes.next(t)
		if err != nil || !ok {
			return err
		}
		c := t.chunk
		if err := p.parse(c); err != nil {
			return fmt.Errorf("%s: %w", b.Inputs[c.input].Name, err)
		}
		err = adder.Add(ctx, c.lane, c.seq, p.records, func() (keep bool, err error) {
			keep, err = b.rows.add(c, p)
			if err != nil {
				return false, err
			}
			if c.err != nil {
				c.err.Line = b.rows.lines[c.input]
				return false, fmt.Errorf("%s: %w", b.Inputs[c.input].Name, c.err)
			}
			b.progress.update(func(s *Status) { s.InputBytes, s.Rows = b.lanes.totals.read.Load(), b.rows.total })
			// After too many bad rows the build has failed. The rest of the
			// input is only read to count the bad rows.
			return keep && !b.rows.tooManyBad(), nil
		})
		if err != nil {
			return err
		}
		b.lanes.passed(c)
	}
}

// sort sorts all records into out.
func (b *build) sort(ctx context.Context, out *output) error {
	records, err := b.sorter.Finish(ctx)
	if err != nil {
		return err
	}
	if b.sorter.SpilledBytes() == 0 {
		b.progress.begin(PhaseSort)
	} else {
		b.progress.begin(PhaseMerge)
	}
	if err := b.checkRecordSpace(0, records); err != nil {
		return err
	}
	if err := out.start(uint64(records), b.sorter.WriteBuffers()); err != nil {
		return err
	}
	return b.sorter.Emit(ctx, out)
}

// publish completes, syncs and publishes the files.
func (b *build) publish(ctx context.Context, out *output, renew bool) (err error) {
	counts, keys := b.sorter.Duplicates()
	duplicates := int64(0)
	for _, n := range counts {
		duplicates += n
	}
	if err := b.checkRecords(b.rows.good()-duplicates, false); err != nil {
		return err
	}
	if b.Duplicates == FailOnDuplicate && duplicates > 0 {
		return newDuplicatesError(duplicates, keys)
	}
	if renew {
		if b.Generation, err = out.pending.Renew(b.created()); err != nil {
			return err
		}
	}
	if err := out.finish(counts); err != nil {
		return err
	}
	if err := b.checkContent(ctx, out); err != nil {
		return err
	}
	b.progress.begin(PhasePublish)
	if err := out.writeBack(ctx); err != nil {
		return err
	}
	if err := b.lanes.checkUnchanged(); err != nil {
		return err
	}
	if b.Publishing != nil {
		if err := b.Publishing(b.Generation); err != nil {
			return err
		}
	}
	if b.Source != "" {
		out.pending.Summary = b.summaryFile(out)
	}
	if err := out.pending.Publish(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// summaryFile returns the summary that is published with the files.
func (b *build) summaryFile(out *output) *generation.Summary {
	s := Summary{
		Rows:       int64(out.header.Rows),
		Records:    int64(out.header.Records),
		Duplicates: int64(out.header.Duplicates),
		BadRows:    int64(out.header.BadRows),
		Seconds:    time.Since(b.started).Seconds(),
		Comparison: b.summary.Comparison,
	}
	s.Bad, _ = b.rows.first()
	file := s.SummaryFile(b.Source, b.Program, b.started)
	for _, in := range b.Inputs {
		file.Inputs = append(file.Inputs, generation.SummaryInput{Name: in.Name, Size: in.Size})
	}
	return file
}

// created returns the time that names the generation: the start of the build, or
// the present if the clock was ahead at the start.
func (b *build) created() time.Time {
	now := time.Now().Round(0) // without the monotonic reading, which hides the correction of the clock
	if b.started.Round(0).After(now) {
		return now
	}
	return b.started
}

// summarize fills in the summary.
func (b *build) summarize(out *output) {
	h, paths := out.header, out.pending.Paths()
	b.summary = Summary{
		Generation:   b.Generation.String(),
		File:         paths[0],
		Files:        paths,
		Shards:       len(paths),
		ShardBy:      b.Sharding.Rule.String(),
		Rows:         int64(h.Rows),
		Records:      int64(h.Records),
		Duplicates:   int64(h.Duplicates),
		BadRows:      int64(h.BadRows),
		InputBytes:   b.lanes.totals.read.Load(),
		FileBytes:    h.FileLen,
		SpilledBytes: b.sorter.SpilledBytes(),
		Phases:       b.progress.end(),
		Seconds:      time.Since(b.started).Seconds(),
		PeakRSSBytes: sysmem.Peak(),
		Comparison:   b.summary.Comparison,
		Lines:        b.rows.lines,
	}
	b.summary.Bad, _ = b.rows.first()
	if b.Sharding.Shards > 1 {
		b.summary.LargestShard = out.largest()
	}
	for _, i := range b.lanes.unterminated() {
		b.summary.Unterminated = true
		b.summary.UnterminatedInputs = append(b.summary.UnterminatedInputs, b.Inputs[i].Name)
	}
}

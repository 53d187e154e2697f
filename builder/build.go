package builder

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/sysmem"
)

// sizes are what the memory of a build is cut into.
type sizes struct {
	arena  int64 // bytes
	page   uint  // the arena's pages have 1<<page records
	chunk  int   // bytes of input that are parsed at once; the longest row
	leaf   int   // records that a worker sorts at once
	direct int   // bytes in each of numDirect buffers to write from: a multiple of directLen
	cached int   // records that are sorted in memory and written through the page cache, at most
}

// numDirect is how many buffers there are for direct writes.
const numDirect = 4

// sizesFor is how memory bytes are used by workers.
func sizesFor(memory int64, workers int) sizes {
	// A chunk stays in the second-level cache from the read to the parse, and so
	// do both halves of a leaf sort. The disk writes 4 MiB at once half as fast
	// again as 1 MiB.
	s := sizes{
		chunk: 256 << 10, leaf: 1 << 15, page: 8,
		direct: int(min(memory>>7, 4<<20)) &^ (directLen - 1),
		cached: maxCached / format.RecordLen,
	}
	perWorker := s.chunk + s.chunk/minRowLen*format.RecordLen
	perWriter := 2 * s.leaf * format.RecordLen
	s.arena = memory - int64(workers*perWorker+writers(workers)*perWriter+numDirect*s.direct)
	return s
}

// writers is how many goroutines sort or merge records and write them: twice
// the workers, as they also wait for the disk, and then leave their processor
// to others.
func writers(workers int) int { return 2 * workers }

// maxCached is the size of a generation, in bytes, from which on it goes past
// the page cache even if its records fit into memory: the cache then has to be
// written back while it fills. 20 M rows take 1.1 times as long that way, 40 M
// 0.85 times, 100 M 0.3 to 0.8 times.
const maxCached = 1 << 30

// A build is one call of Build.
type build struct {
	Options
	sizes sizes // from Memory and Workers, if zero

	started time.Time
	source  *source
	styles  styleTable
	dedup   deduper
	rejects *csv.Writer
	summary Summary

	arena   *arena
	reserve int // pages that splits may need
	spill   *spill
	turn    *turnstile // of chunks, into the buckets

	// Under the turn:
	buckets   buckets
	scatters  sync.WaitGroup // chunks that have room but are not copied yet
	rows      int64
	input     int   // the last that a chunk came from
	lines     int64 // of that input so far
	badRows   []BadRow
	badCount  int64
	inBuckets int // records

	observeMu  sync.Mutex
	status     Status
	phaseStart time.Time
}

// Build makes one generation of the inputs and publishes it. When it fails, or
// ctx ends, nothing is published and nothing is left behind. The errors to
// look for are *BadRowsError, *DuplicatesError, *GateError, *SpaceError,
// *CompressionError, ErrEmpty, ErrExpansion, ErrMemory, generation.ErrLocked
// and those of the file system and of the inputs.
func Build(ctx context.Context, opts Options) (Summary, error) {
	b := &build{Options: opts}
	return b.build(ctx)
}

func (b *build) build(ctx context.Context) (Summary, error) {
	ctx, cancel := context.WithCancel(ctx) // ends what a patient left behind
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
	file, err := w.Create(b.Generation)
	if err != nil {
		return Summary{}, err
	}
	err = b.run(ctx, file, renew)
	if derr := file.Discard(); err == nil {
		err = derr
	}
	if err != nil {
		return Summary{}, err
	}
	return b.summary, nil
}

// check fills in the defaults.
func (b *build) check() error {
	if b.Delimiter == 0 {
		b.Delimiter = ','
	}
	if !ValidDelimiter(b.Delimiter) {
		return fmt.Errorf("delimiter %q can be part of a field", b.Delimiter)
	}
	if b.TempDir == "" {
		b.TempDir = b.Dir
	}
	if b.Memory < MinMemory {
		return fmt.Errorf("%w: %d bytes, less than %d", ErrMemory, b.Memory, MinMemory)
	}
	if b.Workers <= 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	// A worker's own buffers are some 5 MiB; most of the memory is for records.
	b.Workers = min(b.Workers, int(b.Memory>>24))
	if b.sizes == (sizes{}) {
		b.sizes = sizesFor(b.Memory, b.Workers)
	}
	if len(b.Inputs) == 0 {
		return errors.New("no input")
	}
	for _, in := range b.Inputs {
		if in.err != nil {
			return in.err
		}
		if in.Size == 0 {
			b.status.InputSize = -1
		} else if b.status.InputSize >= 0 {
			b.status.InputSize += in.Size
		}
	}
	b.status.InputSize = max(0, b.status.InputSize)
	b.dedup.policy = b.Duplicates
	return nil
}

// ValidDelimiter reports whether c can stand between fields: whether it is
// never part of one.
func ValidDelimiter(c byte) bool {
	return c == '\t' || c > ' ' && c < 0x7f && !strings.ContainsRune("+-.:\"", rune(c)) &&
		!('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z')
}

// run builds and publishes file. renew says that its ID may change.
func (b *build) run(ctx context.Context, file *generation.Pending, renew bool) (err error) {
	sweepSpills(b.TempDir)
	if b.arena, err = newArena(b.sizes, writers(b.Workers)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.arena.close()) }()
	b.reserve = len(b.arena.fill) / 8 // twice what splitter.split needs
	defer func() {
		if b.spill != nil {
			err = errors.Join(err, b.spill.close())
		}
	}()

	if err := b.checkInputRoom(); err != nil {
		return err
	}
	if err := b.read(ctx); err != nil {
		return err
	}
	if err := b.gate(b.rows - b.badCount); err != nil { // better now than after the sort
		return err
	}
	out := &generationSink{b: b, file: file}
	defer func() { err = errors.Join(err, out.close()) }()
	if err := b.write(ctx, out); err != nil {
		return err
	}
	if err := b.gate(b.rows - b.badCount - b.dedup.count); err != nil {
		return err
	}
	b.begin(PhasePublish)
	if renew {
		if b.Generation, err = file.Renew(b.started); err != nil {
			return err
		}
	}
	if err := out.finish(); err != nil {
		return err
	}
	if err := writeBack(ctx, file.File, out.header.FileLen); err != nil {
		return err
	}
	if b.Publishing != nil {
		if err := b.Publishing(b.Generation); err != nil {
			return err
		}
	}
	if err := file.Publish(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	b.finish(file.Path(), out.header)
	return nil
}

// read parses the inputs into the buckets and the spill.
func (b *build) read(ctx context.Context) error {
	b.begin(PhaseRead)
	if b.Rejects != nil {
		b.rejects = csv.NewWriter(newPatient(ctx, b.Rejects.Write))
		if err := b.rejects.Write([]string{"file", "line", "column", "reason", "row"}); err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	b.buckets.clear()
	b.turn = newTurnstile()
	g, ctx := errgroup.WithContext(ctx)
	b.source = &source{ctx: ctx, inputs: b.Inputs}
	defer context.AfterFunc(ctx, b.turn.breakOff)()
	var mu sync.Mutex // of the source
	for range b.Workers {
		g.Go(func() error {
			buf := make([]byte, b.sizes.chunk)
			p := newParser(b.Delimiter, &b.styles, b.sizes.chunk)
			s := new(scatter)
			for {
				mu.Lock()
				c, ok, err := b.source.next(buf)
				mu.Unlock()
				if err != nil || !ok {
					return err
				}
				if err := p.parse(c); err != nil {
					return fmt.Errorf("%s: %w", b.Inputs[c.input].Name, err)
				}
				s.count(p.records)
				if err := b.enter(ctx, c, p, s); err != nil {
					return err
				}
				s.copy(b.arena, p.records)
				b.scatters.Done()
			}
		})
	}
	if err := errors.Join(g.Wait(), b.source.close()); err != nil {
		return err
	}
	if b.rejects != nil {
		b.rejects.Flush()
		if err := b.rejects.Error(); err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	if b.badCount > b.MaxBadRows {
		return &BadRowsError{Rows: b.badRows, Count: b.badCount, Max: b.MaxBadRows}
	}
	if b.rows == b.badCount && !b.AllowEmpty {
		if b.badCount > 0 {
			return fmt.Errorf("%w: %d bad rows were left out, the first of them %s", ErrEmpty, b.badCount, b.badRows[0])
		}
		return ErrEmpty
	}
	return nil
}

// enter takes a parsed chunk in, in the order of the input: it counts its rows
// and gives its records their room. The caller then copies them and says so to
// b.scatters.
func (b *build) enter(ctx context.Context, c chunk, p *parser, s *scatter) error {
	if !b.turn.wait(c.seq) {
		return context.Cause(ctx)
	}
	if c.input != b.input {
		b.input, b.lines = c.input, 0
	}
	for _, bad := range p.bad {
		if err := b.reject(c, p, bad); err != nil {
			return err
		}
	}
	b.lines += p.lines
	b.rows += int64(len(p.records) + len(p.bad))
	if b.badCount > b.MaxBadRows {
		// The build has failed; the rest is read for the count of bad rows.
		p.records = p.records[:0]
		clear(s.counts[:])
	}
	if s.pages(b.arena, &b.buckets)+b.reserve > b.arena.available() {
		if err := b.spillBuckets(ctx); err != nil {
			return err
		}
	}
	s.reserve(b.arena, &b.buckets)
	b.inBuckets += len(p.records)
	b.scatters.Add(1)
	b.observe(func(st *Status) { st.InputBytes, st.Rows = b.source.read.Load(), b.rows })
	b.turn.done() // after an error nobody else may enter
	return nil
}

func (b *build) reject(c chunk, p *parser, bad badLine) error {
	b.badCount++
	if len(b.badRows) == maxShown && b.rejects == nil {
		return nil
	}
	row := p.explain(c, bad)
	row.Input = b.Inputs[c.input].Name
	row.Line += b.lines
	if b.rejects != nil {
		err := b.rejects.Write([]string{row.Input, strconv.FormatInt(row.Line, 10), strconv.Itoa(row.Column), row.Reason, row.Text})
		if err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	if len(b.badRows) < maxShown {
		row.Text = strings.Clone(row.Text[:min(len(row.Text), maxText)])
		b.badRows = append(b.badRows, row)
	}
	return nil
}

func (b *build) sorter() *sorter {
	return &sorter{arena: b.arena, workers: b.Workers, leaf: b.sizes.leaf, dedup: &b.dedup}
}

// spillBuckets writes everything that is in the buckets as one run.
func (b *build) spillBuckets(ctx context.Context) error {
	b.scatters.Wait()
	if b.inBuckets == 0 {
		return nil
	}
	if b.spill == nil {
		s, err := openSpill(b.TempDir, b.arena.direct)
		if err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		b.spill = s
	}
	if err := b.checkRecordRoom(int64(b.inBuckets)*format.RecordLen, b.spill.size/format.RecordLen+int64(b.inBuckets)); err != nil {
		return err
	}
	run := b.spill.begin(b.inBuckets)
	if err := b.sorter().sort(ctx, b.buckets[:], run); err != nil {
		return err
	}
	b.spill.end()
	b.arena.reset()
	b.buckets.clear()
	b.inBuckets = 0
	_, _, err := plan(len(b.arena.records), writers(b.Workers), b.spill.runs) // better now than after the last row
	return err
}

// write sorts everything into out.
func (b *build) write(ctx context.Context, out *generationSink) error {
	if b.spill == nil {
		b.begin(PhaseSort)
		if err := b.checkRecordRoom(0, int64(b.inBuckets)); err != nil {
			return err
		}
		var direct [][]byte
		if b.inBuckets > b.sizes.cached {
			direct = b.arena.direct
		}
		if err := out.start(uint64(b.inBuckets), direct); err != nil {
			return err
		}
		return b.sorter().sort(ctx, b.buckets[:], out)
	}
	if err := b.spillBuckets(ctx); err != nil {
		return err
	}
	b.begin(PhaseMerge)
	if err := b.spill.flush(); err != nil {
		return err
	}
	n := uint64(0)
	for _, r := range b.spill.runs {
		n += uint64(r.n)
	}
	if err := b.checkRecordRoom(0, int64(n)); err != nil {
		return err
	}
	if err := out.start(n, b.arena.direct); err != nil {
		return err
	}
	m := &merger{arena: b.arena, workers: writers(b.Workers), dedup: &b.dedup}
	return m.merge(ctx, b.spill.runs, out)
}

// begin starts a phase.
func (b *build) begin(p Phase) {
	b.endPhase()
	b.observe(func(st *Status) { st.Phase = p })
}

func (b *build) endPhase() {
	now := time.Now()
	if b.status.Phase != "" {
		if b.summary.Phases == nil {
			b.summary.Phases = map[Phase]float64{}
		}
		b.summary.Phases[b.status.Phase] = now.Sub(b.phaseStart).Seconds()
	}
	b.phaseStart = now
}

func (b *build) observe(update func(*Status)) {
	b.observeMu.Lock()
	defer b.observeMu.Unlock()
	update(&b.status)
	if b.Observe != nil {
		b.Observe(b.status)
	}
}

func (b *build) finish(path string, h format.Header) {
	b.endPhase()
	s := &b.summary
	s.Generation = b.Generation.String()
	s.File = path
	s.Rows = int64(h.Rows)
	s.Records = int64(h.Records)
	s.Duplicates = int64(h.Duplicates)
	s.BadRows = int64(h.BadRows)
	s.InputBytes = b.source.read.Load()
	s.FileBytes = h.FileLen
	if b.spill != nil {
		s.SpilledBytes = b.spill.size
	}
	s.Seconds = time.Since(b.started).Seconds()
	s.PeakRSSBytes = sysmem.Peak()
}

package extsort

import (
	"context"
	"sync"

	"promostore/format"
	"promostore/internal/sequencer"
)

// An intake is the ordered section through which chunks enter the buckets.
//
//   - Ordered: chunks pass seq in the order of their numbers, so the records of
//     a bucket keep the order of the input.
//   - Held: one chunk at a time holds the section while it reserves slots in the
//     buckets. If the arena has too few free pages, the chunk also sorts and
//     spills the buckets before it reserves, and all later chunks wait.
//   - Not held: each chunk copies its records into its slots after it has left
//     the section. A spill therefore waits for these copies first.
//
// The section guards all fields except copies, which is safe for concurrent use,
// and Sorter.spill. After the last chunk has passed, Finish and Emit own them.
type intake struct {
	seq     *sequencer.Sequencer
	buckets buckets
	records int            // in the buckets
	copies  sync.WaitGroup // chunks that have slots but are not copied yet
}

// An Adder adds chunks to a Sorter. Each goroutine needs its own.
type Adder struct {
	sorter  *Sorter
	scatter scatter
}

// NewAdder returns an Adder.
func (s *Sorter) NewAdder() *Adder { return &Adder{sorter: s} }

// AbortAfter makes calls of Add fail with the cause of ctx when ctx is done. The
// returned function ends the connection to ctx.
func (s *Sorter) AbortAfter(ctx context.Context) (stop func() bool) {
	return s.intake.seq.AbortAfter(ctx)
}

// Add adds the records of chunk n. Chunks are numbered from 0 without a gap and
// may be added at the same time. The caller may use the memory of records again
// once Add has returned.
//
// Add calls ordered once, after ordered of all chunks below n. Unless it reports
// true, the records are dropped.
func (a *Adder) Add(ctx context.Context, n int64, records []format.Record, ordered func() (keep bool, err error)) error {
	s := a.sorter
	a.scatter.count(records)
	keep := false
	err := s.intake.seq.Pass(n, func() (err error) {
		if keep, err = ordered(); err != nil || !keep {
			return err
		}
		return s.reserve(ctx, &a.scatter, len(records))
	})
	if err != nil || !keep {
		return err
	}
	a.scatter.copy(s.arena, records)
	s.intake.copies.Done()
	return nil
}

// reserve reserves slots for the n records of sc. The caller is in the section.
func (s *Sorter) reserve(ctx context.Context, sc *scatter, n int) error {
	in := &s.intake
	if sc.pages(s.arena, &in.buckets)+s.spare > s.arena.available() {
		if err := s.spillBuckets(ctx); err != nil {
			return err
		}
	}
	sc.reserve(s.arena, &in.buckets)
	in.records += n
	in.copies.Add(1)
	return nil
}

// spillBuckets writes all records of the buckets as one run. The caller is in
// the section, or the last chunk has passed.
func (s *Sorter) spillBuckets(ctx context.Context) error {
	in := &s.intake
	in.copies.Wait()
	if in.records == 0 {
		return nil
	}
	if s.spill == nil {
		sp, err := openSpill(s.cfg.Dir, s.arena.direct)
		if err != nil {
			return spillError(err)
		}
		s.spill = sp
	}
	if s.cfg.BeforeSpill != nil {
		total := s.spill.size/format.RecordLen + int64(in.records)
		if err := s.cfg.BeforeSpill(int64(in.records)*format.RecordLen, total); err != nil {
			return err
		}
	}
	run := s.spill.begin(in.records)
	if err := s.sort(ctx, in.buckets[:], run); err != nil {
		return err
	}
	s.spill.end()
	s.arena.reset()
	in.buckets.clear()
	in.records = 0
	// Fail now, rather than after the last row, if the runs cannot be merged.
	_, _, err := planMerge(len(s.arena.records), writers(s.cfg.Workers), s.spill.runs)
	return err
}

package extsort

import (
	"context"
	"sync"

	"promostore/format"
	"promostore/internal/sequencer"
)

// An intake is the section through which chunks enter the buckets, one at a time.
//
//   - Ordered: the chunks of a lane enter in the order of their numbers, so its
//     records in a bucket keep the order of the input. Chunks of different lanes
//     do not wait for each other.
//   - Held: a chunk holds the section while it reserves slots in the buckets. If
//     the arena has too few free pages, the chunk also sorts and spills the
//     buckets before it reserves, and all other chunks wait.
//   - Not held: each chunk copies its records into its slots after it has left
//     the section. A spill therefore waits for these copies first.
//
// The section guards all fields after mu except copies, which is safe for
// concurrent use, and Sorter.spill. After the last chunk has passed, Finish and
// Emit own them.
type intake struct {
	lanes []*sequencer.Sequencer

	mu      sync.Mutex
	err     error // of a chunk in the section; none enters after it
	buckets buckets
	records int            // in the buckets
	copies  sync.WaitGroup // chunks that have slots but are not copied yet
}

// enter calls f in the section, as chunk n of a lane.
func (in *intake) enter(lane int, n int64, f func() error) error {
	return in.lanes[lane].Pass(n, func() error {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.err == nil {
			in.err = f()
		}
		return in.err
	})
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
	return context.AfterFunc(ctx, func() {
		for _, lane := range s.intake.lanes {
			lane.Abort(context.Cause(ctx))
		}
	})
}

// Add adds the records of chunk n of a lane, both counted from 0. A lane has
// chunks without a gap. Chunks may be added at the same time. Add changes records;
// the caller may use their memory again once Add has returned.
//
// Add calls ordered once, after ordered of all chunks below n of the lane. Calls
// do not overlap. Unless ordered reports true, the records are dropped.
func (a *Adder) Add(ctx context.Context, lane int, n int64, records []format.Record, ordered func() (keep bool, err error)) error {
	s := a.sorter
	if lane > 0 {
		for i := range records {
			records[i].SetTag(lane)
		}
	}
	if s.rotation > 0 {
		rotate(records, s.rotation)
	}
	a.scatter.count(records)
	keep := false
	err := s.intake.enter(lane, n, func() (err error) {
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
	s.runs = append(s.runs, run)
	if err := s.sort(ctx, in.buckets[:], run); err != nil {
		return err
	}
	s.spill.end()
	s.arena.reset()
	in.buckets.clear()
	in.records = 0
	// Fail now, rather than after the last row, if the runs cannot be merged.
	_, _, err := planMerge(len(s.arena.records), writers(s.cfg.Workers), s.runs)
	return err
}

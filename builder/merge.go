package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// Merging. The runs are not merged record by record: the key space is cut into
// ranges that fit into memory, a worker reads its range from every run, sorts
// it like any other records, and hands it over in the order of the ranges. The
// cuts come from the samples of the runs, so they are even whatever the
// distribution, and every byte is read and written once.

// A planner cuts the key space. Safe for concurrent use.
type planner struct {
	mu      sync.Mutex
	runs    []*run
	limit   int64    // records in a range
	slack   int64    // of which this many stay free
	samples []sample // of all runs, by key
	seq     int64
	pos     []int64 // where the next range begins in each run
	done    bool
}

type sample struct {
	key  format.Key
	step int64 // records of its run from this sample to the next
}

func newPlanner(runs []*run, limit int) *planner {
	p := &planner{runs: runs, limit: int64(limit), slack: slack(runs), pos: make([]int64, len(runs))}
	for _, r := range runs {
		for _, k := range r.samples {
			p.samples = append(p.samples, sample{k, r.step})
		}
	}
	slices.SortFunc(p.samples, func(a, b sample) int { return a.key.Compare(b.key) })
	return p
}

// slack is how far the samples can be wrong about a range, in records: one
// step in each run at both ends.
func slack(runs []*run) int64 {
	n := int64(0)
	for _, r := range runs {
		n += 2 * r.step
	}
	return n
}

// A keyRange is the records of a part of the key space: lo to hi of each run.
type keyRange struct {
	seq    int64
	lo, hi []int64
}

// next is the next range; ok is false when there is none.
func (p *planner) next() (r keyRange, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return keyRange{}, false, nil
	}
	r = keyRange{seq: p.seq, lo: slices.Clone(p.pos), hi: make([]int64, len(p.runs))}
	p.seq++
	n, i := p.slack, 0
	for i < len(p.samples) && n+p.samples[i].step <= p.limit {
		n += p.samples[i].step
		i++
	}
	if i == len(p.samples) {
		p.done = true
		for j, run := range p.runs {
			r.hi[j] = run.n
		}
		return r, true, nil
	}
	// Records of one key stay in one range: it ends before the sample's key.
	end := p.samples[i].key
	p.samples = p.samples[i:]
	for j, run := range p.runs {
		if r.hi[j], err = run.find(end); err != nil {
			return keyRange{}, false, err
		}
	}
	copy(p.pos, r.hi)
	return r, true, nil
}

// A merger merges runs into a sink.
type merger struct {
	arena   *arena // empty: its memory is used as a whole
	workers int
	dedup   *deduper
}

// mergeRecords is how many records a worker merges at once if memory allows:
// the reads from each run stay long while most of the sort stays in the cache.
const mergeRecords = 1 << 19

// ErrMemory says that the memory budget is too small for the input: 64 MiB are
// for 300 M rows, and so on in proportion.
var ErrMemory = errors.New("the memory budget is too small")

// plan is how many of workers merge how many records each at once, in the
// memory of room records: all of them, unless the runs are so many that there
// is room for the ranges of fewer.
func plan(room, workers int, runs []*run) (mergers, records int, err error) {
	least := int(2 * slack(runs))
	for ; workers > 0; workers-- {
		if room := room / (2 * workers); least <= room {
			// Many runs make short reads: 64 KiB from each, where there is room.
			return workers, min(room, max(mergeRecords, len(runs)*2048, 2*least)), nil
		}
	}
	return 0, 0, fmt.Errorf("%w to merge %d runs; raise it", ErrMemory, len(runs))
}

func (m *merger) merge(ctx context.Context, runs []*run, out sink) error {
	workers, slot, err := plan(len(m.arena.records), m.workers, runs)
	if err != nil {
		return err
	}
	p := newPlanner(runs, slot)
	turn := newTurnstile()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, turn.breakOff)()
	for i := range workers {
		buf := m.arena.records[2*i*slot : 2*(i+1)*slot]
		g.Go(func() error {
			for ctx.Err() == nil {
				r, ok, err := p.next()
				if err != nil || !ok {
					return err
				}
				n, err := load(buf[:slot], runs, r)
				if err != nil {
					return err
				}
				a := buf[:n]
				sortRecords(a, buf[slot:slot+n])
				if err := emit(ctx, turn, r.seq, m.dedup.dedupe(a), out); err != nil {
					return err
				}
				for j, run := range runs {
					run.consumed(r.hi[j])
				}
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

// load reads a range, run by run, so that of equal keys the one that came last
// in the input stands last.
func load(dst []format.Record, runs []*run, r keyRange) (n int, err error) {
	for j, run := range runs {
		m := int(r.hi[j] - r.lo[j])
		if n+m > len(dst) {
			panic("BUG: a range is larger than planned")
		}
		if err := run.read(dst[n:n+m], r.lo[j]); err != nil {
			return 0, err
		}
		n += m
	}
	return n, nil
}

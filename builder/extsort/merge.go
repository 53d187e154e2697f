package extsort

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sync/errgroup"

	"promostore/format"
	"promostore/internal/sequencer"
)

// Merge. A k-way merge with a tree of losers (Knuth, vol. 3, section 5.4.1)
// compares keys record by record on one processor. Here the key space is cut
// into ranges that fit into memory instead. A goroutine reads its range from
// every run, sorts it like any other records and passes it on in the order of
// the ranges.
//
// The cuts come from regular samples of the sorted runs (Shi and Schaeffer,
// "Parallel Sorting by Regular Sampling", J. Parallel Distrib. Comput. 14,
// 1992). So the ranges have the same size for any distribution of the keys, and
// every byte is read and written once.

// A planner cuts the key space into ranges. It is safe for concurrent use.
type planner struct {
	mu      sync.Mutex // guards samples and the fields after it
	runs    []*run
	limit   int64    // most records in a range
	slack   int64    // records of limit that are left for the error of the samples
	samples []sample // of all runs, by key
	seq     int64
	pos     []int64    // start of the next range in each run
	from    format.Key // lowest key of the next range
	done    bool
}

// A sample is one sample of a run. It stands for the records up to the next
// sample of the run.
type sample struct{ run, index uint32 }

func (p *planner) key(s sample) format.Key { return p.runs[s.run].samples[s.index] }

func newPlanner(runs []*run, limit int) *planner {
	p := &planner{runs: runs, limit: int64(limit), slack: slack(runs), pos: make([]int64, len(runs))}
	n := 0
	for _, r := range runs {
		n += len(r.samples)
	}
	p.samples = make([]sample, 0, n)
	for i, r := range runs {
		for j := range r.samples {
			p.samples = append(p.samples, sample{uint32(i), uint32(j)})
		}
	}
	slices.SortFunc(p.samples, func(a, b sample) int { return p.key(a).Compare(p.key(b)) })
	return p
}

// slack returns the most records by which samples underestimate a range: one
// step at both ends in each run, or a whole run.
func slack(runs []*run) int64 {
	n := int64(0)
	for _, r := range runs {
		n += min(2*r.step, r.n)
	}
	return n
}

// A keyRange is a part of the key space: from ≤ key < to. In run i these keys
// are among the records lo[i] to hi[i]. The records before next[i] belong to
// this range or an earlier one.
type keyRange struct {
	seq          int64
	from, to     format.Key
	last         bool // to has no meaning
	lo, hi, next []int64
}

// next returns the next range. ok is false if there is none.
func (p *planner) next() (r keyRange, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return keyRange{}, false
	}
	r = keyRange{seq: p.seq, from: p.from, lo: p.pos, hi: make([]int64, len(p.runs)), next: make([]int64, len(p.runs))}
	p.seq++
	n, i := p.slack, 0
	for i < len(p.samples) && n+p.runs[p.samples[i].run].step <= p.limit {
		n += p.runs[p.samples[i].run].step
		i++
	}
	if i == len(p.samples) {
		p.done, r.last = true, true
		for j, run := range p.runs {
			r.hi[j], r.next[j] = run.n, run.n
		}
		return r, true
	}
	if i == 0 {
		panic("BUG: a range has no room for a sample")
	}
	// All records of one key stay in one range, because it ends before the key
	// of the sample.
	r.to = p.key(p.samples[i])
	p.samples = p.samples[i:]
	for j, run := range p.runs {
		r.next[j], r.hi[j] = run.around(r.to)
	}
	p.from, p.pos = r.to, r.next
	return r, true
}

// readRecords is the average number of records that the merge reads from a run
// at once if the memory is large enough: 4 MiB, which the disk reads twice as
// fast as 1 MiB.
const readRecords = 1 << 17

// planMerge returns the number of goroutines that merge, and the records that
// each of them merges at once, for a memory of room records. There are fewer
// goroutines than workers if there are too many runs for the memory. Records in
// progress occupy disk space twice, so there are at most 1/16 of all at a time.
func planMerge(room, workers int, runs []*run) (mergers, records int, err error) {
	least := leastRange(runs)
	for ; workers > 0; workers-- {
		if room := room / (2 * workers) / directRecords * directRecords; least <= room {
			part := max(least, int(total(runs)/int64(16*workers))/directRecords*directRecords)
			return workers, max(least, min(room, part, len(runs)*readRecords)), nil
		}
	}
	return 0, 0, fmt.Errorf("%w for the merge of %d runs", ErrMemory, len(runs))
}

// leastRange returns the fewest records of a range that advances, of which at most
// half are slack.
func leastRange(runs []*run) int {
	n, step := slack(runs), int64(directRecords)
	for _, r := range runs {
		step = max(step, r.step)
	}
	return int((n + max(n, step) + directRecords - 1) / directRecords * directRecords)
}

// total returns the number of records in runs.
func total(runs []*run) (n int64) {
	for _, r := range runs {
		n += r.n
	}
	return n
}

// merge merges all runs into out. The arena must be empty; merge uses its memory as
// a whole.
func (s *Sorter) merge(ctx context.Context, out Sink) error {
	runs := s.runs
	workers, slot, err := planMerge(len(s.arena.records), writers(s.cfg.Workers), runs)
	if err != nil {
		return err
	}
	p := newPlanner(runs, slot)
	seq := sequencer.New()
	g, ctx := errgroup.WithContext(ctx)
	defer seq.AbortAfter(ctx)()
	for i := range workers {
		buf := s.arena.records[2*i*slot : 2*(i+1)*slot]
		g.Go(func() error {
			for ctx.Err() == nil {
				r, ok := p.next()
				if !ok {
					return nil
				}
				n, err := load(buf, runs, r)
				if err != nil {
					return err
				}
				if n > slot {
					panic("BUG: a range is larger than planned")
				}
				a := buf[:n]
				sortRecords(a, buf[slot:slot+n])
				if err := emit(seq, r.seq, s.dedup.dedupe(a), out); err != nil {
					return err
				}
				for j, run := range runs {
					run.consumed(r.next[j])
				}
			}
			return context.Cause(ctx)
		})
	}
	return g.Wait()
}

// load reads a range from all runs, in their order, so records of a lane with
// equal keys keep the order of the input. dst also needs room for the records
// around the range that are read with it.
func load(dst []format.Record, runs []*run, r keyRange) (n int, err error) {
	for j, run := range runs {
		if r.lo[j] == r.hi[j] {
			continue
		}
		at := (n + directRecords - 1) / directRecords * directRecords
		part, err := run.read(dst[at:], r.lo[j], r.hi[j])
		if err != nil {
			return 0, err
		}
		part = part[lowerBound(part, r.from):]
		if !r.last {
			part = part[:lowerBound(part, r.to)]
		}
		n += copy(dst[n:], part)
	}
	return n, nil
}

// lowerBound returns the number of sorted records with keys below k.
func lowerBound(records []format.Record, k format.Key) int {
	return sort.Search(len(records), func(i int) bool { return !records[i].Key().Less(k) })
}

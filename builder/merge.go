package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
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
	pos     []int64    // where the next range begins in each run
	from    format.Key // its first key
	done    bool
}

// A sample is one of a run's: the records from it on to the next of the run.
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

// slack is how far the samples can be wrong about a range, in records: one
// step in each run at both ends.
func slack(runs []*run) int64 {
	n := int64(0)
	for _, r := range runs {
		n += 2 * r.step
	}
	return n
}

// A keyRange is a part of the key space: the keys from from on and below to,
// which are among the records lo to hi of each run. What is in front of next
// belongs to this range and those before.
type keyRange struct {
	seq          int64
	from, to     format.Key
	last         bool // there is no to
	lo, hi, next []int64
}

// next is the next range; ok is false when there is none.
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
	// Records of one key stay in one range: it ends before the sample's key.
	r.to = p.key(p.samples[i])
	p.samples = p.samples[i:]
	for j, run := range p.runs {
		r.next[j], r.hi[j] = run.around(r.to)
	}
	p.from, p.pos = r.to, r.next
	return r, true
}

// A merger merges runs into a sink.
type merger struct {
	arena   *arena // empty: its memory is used as a whole
	workers int
	dedup   *deduper
}

// readRecords is how many records the merge reads from a run at once if memory
// allows, on average: 4 MiB, which the disk reads twice as fast as 1 MiB.
const readRecords = 1 << 17

// ErrMemory says that the memory budget is too small for the input: 64 MiB are
// for 300 M rows, and so on in proportion.
var ErrMemory = errors.New("the memory budget is too small")

// plan is how many of workers merge how many records each at once, in the
// memory of room records: all of them, unless the runs are so many that there
// is room for the ranges of fewer. What they are at is on the disk twice, so
// together it should be a sixteenth of all at most.
func plan(room, workers int, runs []*run) (mergers, records int, err error) {
	total := int64(0)
	for _, r := range runs {
		total += r.n
	}
	least := max(int(2*slack(runs)), 2*directRecords)
	for ; workers > 0; workers-- {
		if room := room / (2 * workers) / directRecords * directRecords; least <= room {
			part := max(least, int(total/int64(16*workers))/directRecords*directRecords)
			return workers, max(least, min(room, part, len(runs)*readRecords)), nil
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
				if err := emit(ctx, turn, r.seq, m.dedup.dedupe(a), out); err != nil {
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

// load reads a range, run by run, so that of equal keys the one that came last
// in the input stands last. dst has room for what is read beside the range too.
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

// lowerBound is the number of sorted records with keys below k.
func lowerBound(records []format.Record, k format.Key) int {
	return sort.Search(len(records), func(i int) bool { return !records[i].Key().Less(k) })
}

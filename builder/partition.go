package builder

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// Partition. While the input is read, records are scattered by the top bits of
// their keys into buckets, so that each can later be sorted within the cache:
// UUID v4 keys are uniform there, so the buckets are even (Amin and others,
// "ELSAR", arXiv 2305.05671). Keys that are not uniform make some buckets too
// large; those are split again by the bits in which their keys do differ.

// bucketBits is how many of the top bits make a bucket. 20 M rows make 1024
// buckets of 625 KB each.
const bucketBits = 10

type buckets [1 << bucketBits]chain

func (b *buckets) clear() {
	for i := range b {
		b[i] = emptyChain
	}
}

func bucketOf(r *format.Record) uint64 { return r.Key().Hi >> (64 - bucketBits) }

// A scatter is one chunk on its way into the buckets: first counted, then
// given room in the order of the chunks, then copied.
type scatter struct {
	counts [1 << bucketBits]uint32
	slots  [1 << bucketBits]uint32 // where the next record of the bucket goes
}

func (s *scatter) count(records []format.Record) {
	clear(s.counts[:])
	for i := range records {
		s.counts[bucketOf(&records[i])]++
	}
}

// pages is how many pages reserve would take.
func (s *scatter) pages(a *arena, b *buckets) int {
	n := 0
	for i, c := range s.counts {
		if c > 0 {
			n += a.pagesFor(&b[i], int(c))
		}
	}
	return n
}

// reserve gives the chunk its room.
func (s *scatter) reserve(a *arena, b *buckets) {
	for i, c := range s.counts {
		if c > 0 {
			s.slots[i] = a.grow(&b[i], int(c))
		}
	}
}

// copy fills the room. Chunks may be copied at the same time.
func (s *scatter) copy(a *arena, records []format.Record) {
	for i := range records {
		slot := &s.slots[bucketOf(&records[i])]
		a.records[*slot] = records[i]
		*slot = a.advance(*slot)
	}
}

// A splitter cuts chains that are too long to be sorted at once.
type splitter struct {
	arena   *arena
	workers int
	max     int // records in a chain that is short enough
	dedup   *deduper
}

// split returns chains in the order of their keys, each of at most max
// records. The given ones are used up.
//
// The workers take a chain each, but all of them together a chain that is more
// than one worker's part of the whole. Pages that are not full are what a
// split costs in memory: half a page a child and worker. A child has at least
// max/2 records on average, so with at most max/16 records in the pages of all
// workers that is a sixteenth of the chain, and half of what the arena keeps
// in reserve.
func (s *splitter) split(ctx context.Context, chains []chain) ([]chain, error) {
	total := 0
	for _, c := range chains {
		total += c.n
	}
	chains, err := s.splitLarge(ctx, chains, max(s.max, total/s.workers))
	if err != nil {
		return nil, err
	}
	parts := make([][]chain, len(chains))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.workers)
	for i, c := range chains {
		if c.n <= s.max {
			parts[i] = chains[i : i+1]
			continue
		}
		g.Go(func() (err error) {
			one := *s
			one.workers = 1
			parts[i], err = one.splitLarge(ctx, []chain{c}, s.max)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []chain
	for _, part := range parts {
		for _, c := range part {
			if c.n > 0 {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// splitLarge splits the chains that have more than limit records, and what
// comes of them, until none has.
func (s *splitter) splitLarge(ctx context.Context, chains []chain, limit int) ([]chain, error) {
	var out []chain
	for _, c := range chains {
		if c.n <= limit {
			out = append(out, c)
			continue
		}
		children, err := s.splitOne(ctx, c)
		if err == nil {
			children, err = s.splitLarge(ctx, children, limit)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, children...)
	}
	return out, nil
}

// splitOne scatters a chain by the first bits in which its keys differ. Digits
// that are neighbours share a child as long as it stays short enough, so there
// are at most some 2·n/max children, however uneven the keys are. Each page is
// given back once it is copied.
func (s *splitter) splitOne(ctx context.Context, c chain) ([]chain, error) {
	pages := s.arena.pages(c)
	skip, err := s.commonPrefix(ctx, pages)
	if err != nil {
		return nil, err
	}
	if skip == 128 {
		return []chain{s.reduce(pages)}, nil
	}
	digitBits := uint(min(bits.Len(uint(c.n/s.max))+2, maxDigitBits, 128-skip))
	children, n, err := s.children(ctx, pages, uint(skip), digitBits)
	if err != nil {
		return nil, err
	}
	workers := max(1, min(s.workers, s.max/(16*s.arena.pageRecords())))
	parts := make([][]chain, workers)
	err = parallel(ctx, workers, pages, func(i int) func(int32) error {
		parts[i] = make([]chain, n)
		for j := range parts[i] {
			parts[i][j] = emptyChain
		}
		return func(p int32) error { return s.scatterPage(p, uint(skip), digitBits, children, parts[i]) }
	})
	if err != nil {
		return nil, err
	}
	out := make([]chain, n)
	for i := range out {
		out[i] = emptyChain
		for _, part := range parts {
			s.arena.join(&out[i], part[i])
		}
	}
	return out, nil
}

// children says which child each digit goes to, and how many there are.
func (s *splitter) children(ctx context.Context, pages []int32, skip, digitBits uint) (child []uint16, n int, err error) {
	counts := make([][]int, s.workers)
	err = parallel(ctx, s.workers, pages, func(i int) func(int32) error {
		counts[i] = make([]int, 1<<digitBits)
		return func(p int32) error {
			records := s.arena.filled(p)
			for j := range records {
				counts[i][digit(&records[j], skip, digitBits)]++
			}
			return nil
		}
	})
	child = make([]uint16, 1<<digitBits)
	size := 0 // of the child n
	for d := range child {
		count := 0
		for _, c := range counts {
			count += c[d]
		}
		if size > 0 && size+count > s.max {
			n, size = n+1, 0
		}
		child[d] = uint16(n)
		size += count
	}
	return child, n + 1, err
}

// parallel gives each worker an equal part of the pages, in their order, until
// ctx ends. start makes what a worker does with each of its pages.
func parallel(ctx context.Context, workers int, pages []int32, start func(worker int) func(page int32) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range workers {
		g.Go(func() error {
			f := start(i)
			for _, p := range pages[i*len(pages)/workers : (i+1)*len(pages)/workers] {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err := f(p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// commonPrefix is the number of leading bits in which all keys agree.
func (s *splitter) commonPrefix(ctx context.Context, pages []int32) (int, error) {
	first := s.arena.page(pages[0])[0].Key()
	skips := make([]int, s.workers)
	err := parallel(ctx, s.workers, pages, func(i int) func(int32) error {
		skips[i] = 128
		return func(p int32) error {
			if records := s.arena.filled(p); len(records) > 0 {
				skips[i] = min(skips[i], commonPrefix(records), records[0].Key().CommonPrefix(first))
			}
			return nil
		}
	})
	return slices.Min(skips), err
}

// scatterPage moves the records of a page into the children of their digits.
func (s *splitter) scatterPage(p int32, skip, digitBits uint, child []uint16, out []chain) error {
	a := s.arena
	records := a.filled(p)
	for i := range records {
		c := &out[child[digit(&records[i], skip, digitBits)]]
		if c.n&(a.pageRecords()-1) == 0 && !a.append(c) {
			return fmt.Errorf("%w for ids that are so uneven; raise it", ErrMemory)
		}
		a.page(c.tail)[a.fill[c.tail]] = records[i]
		a.fill[c.tail]++
		c.n++
	}
	a.release(p)
	return nil
}

// reduce leaves one record of a chain in which all have the same key.
func (s *splitter) reduce(pages []int32) chain {
	a := s.arena
	kept := a.page(pages[0])
	for i, p := range pages {
		records := a.filled(p)
		if i > 0 && len(records) > 0 {
			// The two that meet here are duplicates too.
			last := kept[0]
			s.dedup.replace(&last, &records[0])
			records[0] = last
		}
		if len(records) > 0 {
			kept[0] = s.dedup.dedupe(records)[0]
		}
		if i > 0 {
			a.release(p)
		}
	}
	a.fill[pages[0]], a.next[pages[0]] = 1, noPage
	return chain{head: pages[0], tail: pages[0], n: 1}
}

package extsort

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// Partition. During the input, records are scattered into buckets by the top
// bits of their keys, so that each bucket can later be sorted within the cache.
// The keys of UUID v4 are uniform in these bits, so the buckets have the same
// size (Amin and others, "ELSAR", arXiv:2305.05671). Other keys make some
// buckets too large. Those are split again, by the bits in which their keys
// differ.

// bucketBits is the number of top bits that select a bucket. 20 M records make
// 1024 buckets of 625 KB each.
const bucketBits = 10

type buckets [1 << bucketBits]chain

func (b *buckets) clear() {
	for i := range b {
		b[i] = emptyChain
	}
}

func bucketOf(r *format.Record) uint64 { return r.Key().Hi >> (64 - bucketBits) }

// A scatter moves one chunk into the buckets: count, then reserve in the order
// of the chunks, then copy.
type scatter struct {
	counts [1 << bucketBits]uint32
	slots  [1 << bucketBits]uint32 // slot of the next record of each bucket
}

func (s *scatter) count(records []format.Record) {
	clear(s.counts[:])
	for i := range records {
		s.counts[bucketOf(&records[i])]++
	}
}

// pages returns the number of pages that reserve would allocate.
func (s *scatter) pages(a *arena, b *buckets) int {
	n := 0
	for i, c := range s.counts {
		if c > 0 {
			n += a.pagesFor(&b[i], int(c))
		}
	}
	return n
}

// reserve reserves a slot for each record of the chunk.
func (s *scatter) reserve(a *arena, b *buckets) {
	for i, c := range s.counts {
		if c > 0 {
			s.slots[i] = a.grow(&b[i], int(c))
		}
	}
}

// copy fills the reserved slots. Different chunks may be copied at the same
// time.
func (s *scatter) copy(a *arena, records []format.Record) {
	for i := range records {
		slot := &s.slots[bucketOf(&records[i])]
		a.records[*slot] = records[i]
		*slot = a.advance(*slot)
	}
}

// A splitter splits chains that are too long for one sort.
type splitter struct {
	arena   *arena
	workers int
	max     int // records in a chain that need not be split
	dedup   *deduper
}

// split returns chains in the order of their keys, each of at most max records.
// It uses up the given chains.
//
// Each worker splits a chain of its own; a chain with more records than the
// average share of a worker is split by all workers together. The last page of a
// child is half full on average, so each child and worker costs half a page:
//
//	cost of a split <= pages of all workers / 2 <= max/32 for each child
//	                <= 1/16 of the chain, since a child has at least max/2 records
//
// Sorter.spare keeps twice as much free.
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

// splitLarge splits chains of more than limit records until there are none.
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

// splitOne scatters a chain by the first bits in which its keys differ. Adjacent
// digits share a child as long as it stays within max records, so there are
// about 2·n/max children at most, for any distribution of the keys. A page is
// freed as soon as it is copied.
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

// children returns the child of each digit and the number of children.
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
	size := 0 // of child n
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

// parallel divides the pages among workers, in order and in equal parts, and
// ends early when ctx is done. start returns the function that a worker calls
// for each of its pages.
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

// commonPrefix returns the number of leading bits that all keys of the pages
// share.
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
			return fmt.Errorf("%w for ids with such long common prefixes", ErrMemory)
		}
		a.page(c.tail)[a.fill[c.tail]] = records[i]
		a.fill[c.tail]++
		c.n++
	}
	a.release(p)
	return nil
}

// reduce keeps one record of a chain in which all keys are equal.
func (s *splitter) reduce(pages []int32) chain {
	a := s.arena
	kept := a.page(pages[0])
	for i, p := range pages {
		records := a.filled(p)
		if i > 0 && len(records) > 0 {
			// The kept record and the first one of this page are duplicates too.
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

package builder

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"

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
func (s *splitter) split(chains []chain) ([]chain, error) {
	var out []chain
	for _, c := range chains {
		switch {
		case c.n > s.max:
			children, err := s.splitOne(c)
			if err == nil {
				children, err = s.split(children)
			}
			if err != nil {
				return nil, err
			}
			out = append(out, children...)
		case c.n > 0:
			out = append(out, c)
		}
	}
	return out, nil
}

// splitOne scatters a chain by the first bits in which its keys differ. Digits
// that are neighbours share a child as long as it stays short enough, so there
// are at most some 2·n/max children, however uneven the keys are. Every worker
// takes a part of the pages and gives each back once it is copied, so that the
// memory needed beside the chain is one page a worker and child.
func (s *splitter) splitOne(c chain) ([]chain, error) {
	pages := s.arena.pages(c)
	skip := s.commonPrefix(pages)
	if skip == 128 {
		return []chain{s.reduce(pages)}, nil
	}
	digitBits := uint(min(bits.Len(uint(c.n/s.max))+2, maxDigitBits, 128-skip))
	children, n := s.children(pages, uint(skip), digitBits)
	workers := s.workers
	if workers*n > s.arena.available() {
		workers = 1
	}
	if n > s.arena.available() {
		return nil, fmt.Errorf("%w for ids that are so uneven; raise it", ErrMemory)
	}
	parts := make([][]chain, workers)
	parallel(workers, pages, func(i int, pages []int32) {
		parts[i] = s.scatterPages(pages, uint(skip), digitBits, children, n)
	})
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
func (s *splitter) children(pages []int32, skip, digitBits uint) (child []uint16, n int) {
	counts := make([][]int, s.workers)
	parallel(s.workers, pages, func(i int, pages []int32) {
		counts[i] = make([]int, 1<<digitBits)
		for _, p := range pages {
			records := s.arena.filled(p)
			for j := range records {
				counts[i][digit(&records[j], skip, digitBits)]++
			}
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
	return child, n + 1
}

// parallel gives each worker an equal part of the pages, in their order.
func parallel(workers int, pages []int32, f func(i int, pages []int32)) {
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			f(i, pages[i*len(pages)/workers:(i+1)*len(pages)/workers])
		})
	}
	wg.Wait()
}

// commonPrefix is the number of leading bits in which all keys agree.
func (s *splitter) commonPrefix(pages []int32) int {
	first := s.arena.page(pages[0])[0].Key()
	skips := make([]int, s.workers)
	parallel(s.workers, pages, func(i int, pages []int32) {
		skips[i] = 128
		for _, p := range pages {
			if records := s.arena.filled(p); len(records) > 0 {
				k := records[0].Key()
				skips[i] = min(skips[i], commonPrefix(records), k.CommonPrefix(first))
			}
		}
	})
	return slices.Min(skips)
}

// scatterPages moves the records of pages into n chains by their digits.
func (s *splitter) scatterPages(pages []int32, skip, digitBits uint, child []uint16, n int) []chain {
	a := s.arena
	out := make([]chain, n)
	for i := range out {
		out[i] = emptyChain
	}
	for _, p := range pages {
		records := a.filled(p)
		for i := range records {
			c := &out[child[digit(&records[i], skip, digitBits)]]
			if c.n&(a.pageRecords()-1) == 0 {
				a.append(c)
			}
			a.page(c.tail)[a.fill[c.tail]] = records[i]
			a.fill[c.tail]++
			c.n++
		}
		a.release(p)
	}
	return out
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

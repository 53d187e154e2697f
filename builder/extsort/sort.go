package extsort

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"promostore/format"
	"promostore/internal/sequencer"
)

// sort moves the records of chains, which are in the order of their keys, to
// out. Long chains are split into leaves; each goroutine copies a leaf into a
// buffer of its own, sorts it there and writes it. The batches that out gets do
// not depend on the number of workers.
func (s *Sorter) sort(ctx context.Context, chains []chain, out Sink) error {
	leaf := s.cfg.Sizes.Leaf
	split := splitter{s.arena, s.cfg.Workers, leaf, &s.dedup}
	chains, err := split.split(ctx, chains)
	if err != nil {
		return err
	}
	leaves := group(chains, leaf)
	seq := sequencer.New()
	g, ctx := errgroup.WithContext(ctx)
	defer seq.AbortAfter(ctx)()
	var next atomic.Int64
	for _, buf := range s.arena.buffers {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(leaves)); i = next.Add(1) - 1 {
				n := s.arena.gather(buf, leaves[i])
				a, tmp := buf[:n], buf[leaf:leaf+n]
				sortRecords(a, tmp)
				if err := emit(seq, i, s.dedup.dedupe(a), out); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// emit passes records to out as batch i of seq.
func emit(seq *sequencer.Sequencer, i int64, records []format.Record, out Sink) error {
	out.Prepare(records)
	var write func() error
	err := seq.Pass(i, func() (err error) {
		write, err = out.Reserve(records)
		return err
	})
	if err != nil {
		return err
	}
	return write()
}

// group joins adjacent chains into groups of at most limit records. A longer
// chain is a group of its own.
func group(chains []chain, limit int) [][]chain {
	var groups [][]chain
	start, n := 0, 0
	for i, c := range chains {
		if n+c.n > limit && i > start {
			groups = append(groups, chains[start:i])
			start, n = i, 0
		}
		n += c.n
	}
	if start < len(chains) {
		groups = append(groups, chains[start:])
	}
	return groups
}

// gather copies chains to dst, frees their pages and returns the number of
// records.
func (a *arena) gather(dst []format.Record, chains []chain) (n int) {
	for _, c := range chains {
		pages := a.pages(c)
		for _, p := range pages {
			n += copy(dst[n:], a.filled(p))
		}
		a.release(pages...)
	}
	return n
}

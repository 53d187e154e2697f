package builder

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// A sink takes sorted records. prepare may change them and is called at the
// same time as others; place is called in the order of the keys and gives them
// their place; write, which may be called at any time afterwards and at the
// same time as others, does the work.
type sink interface {
	prepare(records []format.Record)
	place(records []format.Record) (write func() error, err error)
}

// A sorter sorts chains into a sink. With one worker or many, what reaches the
// sink is the same.
type sorter struct {
	arena   *arena
	workers int
	leaf    int // records that a worker sorts at once, in half of its buffer
	dedup   *deduper
}

// sort empties the chains, which are in the order of their keys, into out.
func (s *sorter) sort(ctx context.Context, chains []chain, out sink) error {
	split := splitter{s.arena, s.workers, s.leaf, s.dedup}
	chains, err := split.split(ctx, chains)
	if err != nil {
		return err
	}
	leaves := group(chains, s.leaf)
	turn := newTurnstile()
	g, ctx := errgroup.WithContext(ctx)
	defer context.AfterFunc(ctx, turn.breakOff)()
	var next atomic.Int64
	for _, buf := range s.arena.buffers {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(leaves)); i = next.Add(1) - 1 {
				n := s.gather(buf, leaves[i])
				a, tmp := buf[:n], buf[s.leaf:s.leaf+n]
				sortRecords(a, tmp)
				if err := emit(ctx, turn, i, s.dedup.dedupe(a), out); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// emit hands records over to out as number i.
func emit(ctx context.Context, turn *turnstile, i int64, records []format.Record, out sink) error {
	out.prepare(records)
	if !turn.wait(i) {
		return context.Cause(ctx)
	}
	write, err := out.place(records)
	if err != nil {
		return err
	}
	turn.done()
	return write()
}

// group puts neighbours together as long as they have at most limit records.
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

// gather copies chains into dst and gives their pages back.
func (s *sorter) gather(dst []format.Record, chains []chain) (n int) {
	for _, c := range chains {
		pages := s.arena.pages(c)
		for _, p := range pages {
			n += copy(dst[n:], s.arena.filled(p))
		}
		s.arena.release(pages...)
	}
	return n
}

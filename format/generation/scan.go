package generation

import (
	"context"
	"math"
	"math/bits"

	"promostore/format"
)

const (
	// scanBlocks is the number of blocks that a scan reads at a time from a file:
	// 1 MiB.
	scanBlocks = 256

	// mergedRecords is the number of merged records in one call of yield: 256 KiB,
	// so that a processor still has them in its cache.
	mergedRecords = 8192
)

// mergeLen bounds the bytes of blocks in memory while files are merged. It leaves
// 4 blocks for each of format.MaxShards files. Tests change it.
var mergeLen int64 = 64 << 20

// Scan calls yield with all records of the files of s in ascending order of their
// ids, some at a time, after checking them like format.Index.Verify. The records
// are valid until yield returns. Scan returns the error of yield, that of ctx, or
// a *FileError.
func (s *Set) Scan(ctx context.Context, yield func([]format.Record) error) error {
	next := func(records []format.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(records)
	}
	files := s.Open()
	if len(files) > 1 && s.Header.Rule == format.ShardLast {
		return merge(files, next)
	}
	// With rule first, the ids of a file precede those of the next.
	var c cursor
	for _, f := range files {
		c.file, c.block = f, 0
		for {
			if err := c.fill(scanBlocks); err != nil {
				return err
			}
			if len(c.records) == 0 {
				break
			}
			if err := next(c.records); err != nil {
				return err
			}
		}
	}
	return nil
}

// Owns reports whether s has the file of the shard of key.
func (s *Set) Owns(key format.Key) bool { return s.Files[s.Header.ShardOf(key)].File != nil }

// Get returns the record of key, which s must own. It verifies the block that can
// have it; see format.Index.Get. The error is a *FileError.
func (s *Set) Get(key format.Key) (r format.Record, found bool, err error) {
	f := s.Files[s.Header.ShardOf(key)]
	if r, found, err = f.Index.Get(f, key); err != nil {
		err = f.defect(err)
	}
	return r, found, err
}

// A cursor reads the records of a file in their order.
type cursor struct {
	file    Indexed
	block   int64 // next to read
	segment format.Segment
	records []format.Record // of segment, without those that were merged
}

// fill reads and verifies the next blocks, up to n. At the end of the file it
// leaves no records.
func (c *cursor) fill(n int64) error {
	n = min(n, c.file.Index.Blocks()-c.block)
	if n == 0 {
		c.records = nil
		return nil
	}
	records, err := c.segment.ReadBlocks(c.file.Index, c.file, c.block, n)
	if err != nil {
		return c.file.defect(err)
	}
	c.block, c.records = c.block+n, records
	return nil
}

// A head is the first of the records that a cursor has left. Heads are ordered by
// their fields, the first one being the most significant.
type head struct {
	hi, lo uint64 // the id; the highest id if no record is left
	cursor uint64 // its number, plus noRecord if no record is left
}

// noRecord makes a head without a record sort after the record of the highest id.
const noRecord = 1 << 32

// match swaps a and b if a is less. It has no branch, because a processor cannot
// predict the winner: a merge of 16 files takes 20 ns for each record, and 27 with a
// branch.
func match(a, b *head) {
	_, less := bits.Sub64(a.cursor, b.cursor, 0)
	_, less = bits.Sub64(a.lo, b.lo, less)
	_, less = bits.Sub64(a.hi, b.hi, less)
	mask := -less // all ones if a is less, else 0
	x, y, z := (a.hi^b.hi)&mask, (a.lo^b.lo)&mask, (a.cursor^b.cursor)&mask
	a.hi, a.lo, a.cursor = a.hi^x, a.lo^y, a.cursor^z
	b.hi, b.lo, b.cursor = b.hi^x, b.lo^y, b.cursor^z
}

// merge calls yield with the records of all files, merged.
//
// It keeps the heads of the files in a tree of losers (Knuth, The Art of Computer
// Programming, volume 3, section 5.4.1): leaf i is node k+i, and the parent of
// node n is n/2. Each inner node holds the loser of the match of its subtrees,
// whose winner goes up to the parent. After the overall winner is taken, only the
// matches on the path of its leaf are repeated, one comparison each.
func merge(files []Indexed, yield func([]format.Record) error) error {
	k := len(files)
	blocks := max(1, min(scanBlocks, mergeLen/format.BlockLen/int64(k)))
	cursors := make([]cursor, k)
	next := func(i uint64) (head, error) {
		c := &cursors[i]
		if len(c.records) == 0 {
			if err := c.fill(blocks); err != nil {
				return head{}, err
			}
			if len(c.records) == 0 {
				return head{math.MaxUint64, math.MaxUint64, i | noRecord}, nil
			}
		}
		key := c.records[0].Key()
		return head{key.Hi, key.Lo, i}, nil
	}

	// Play all matches, from the leaves to the root.
	winners, losers := make([]head, 2*k), make([]head, k)
	for i, f := range files {
		cursors[i].file = f
		var err error
		if winners[k+i], err = next(uint64(i)); err != nil {
			return err
		}
	}
	for n := k - 1; n > 0; n-- {
		losers[n], winners[n] = winners[2*n], winners[2*n+1]
		match(&losers[n], &winners[n])
	}

	merged := make([]format.Record, 0, mergedRecords)
	for winner := winners[1]; winner.cursor < noRecord; {
		c := &cursors[winner.cursor]
		merged = append(merged, c.records[0])
		c.records = c.records[1:]
		if len(merged) == cap(merged) {
			if err := yield(merged); err != nil {
				return err
			}
			merged = merged[:0]
		}
		n := (uint64(k) + winner.cursor) / 2
		var err error
		if winner, err = next(winner.cursor); err != nil {
			return err
		}
		for ; n > 0; n /= 2 {
			match(&losers[n], &winner)
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return yield(merged)
}

package lookups

import (
	"context"
	"errors"
	"fmt"

	"promostore/bench/contest"
	"promostore/format"
)

// partRows is the size that the bar is for.
const partRows = 1_000_000_000

// Part reports lookups against one random read of the mapping in the newest
// generation of dir, which need not fit into memory: both keep to a run of
// ids whose blocks take size bytes, which should. The generation is verified
// before, which reads all of it.
func Part(ctx context.Context, dir string, size int64, report func(contest.Result)) (err error) {
	t, err := openDir(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	lo, n := t.middle(size)
	if n == 0 {
		return fmt.Errorf("%s: no records", dir)
	}
	samples, err := sampleOf(t.at, lo, n)
	if err != nil {
		return err
	}
	c := contest.Contest{
		Area: area, Name: "floor/" + contest.Count(t.rows), Unit: unit, Rows: t.rows,
		What: fmt.Sprintf("lookup, %s records, against one random read of the mapping", contest.Count(t.rows)),
		Ours: ours(t.file, sampled(samples)).contestant("promostore", ourSetup, t.warmOurs(lo, n)),
		Peer: floor(t.at, sampled(samples)).contestant("floor", "x/exp/mmap, one byte at a random record, whose place is known beforehand", t.warmFloor(lo, n)),
		Bar:  contest.AtMost(1.5).For(partRows, t.rows), Rounds: floorRounds,
		Note: fmt.Sprintf("both in a run of %s records, which stays in memory", contest.Count(n)),
	}
	r, err := c.Run(ctx)
	if err != nil {
		return err
	}
	report(r)
	return nil
}

// middle is the records of whole blocks in the middle of the file, of which
// there are size bytes: the first of them, and how many.
func (t *table) middle(size int64) (lo, n int64) {
	full := t.rows / format.RecordsPerBlock
	blocks := min(max(size/format.BlockLen, 1), full)
	if blocks == 0 {
		return 0, t.rows
	}
	return (full - blocks) / 2 * format.RecordsPerBlock, blocks * format.RecordsPerBlock
}

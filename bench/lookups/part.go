package lookups

import (
	"context"
	"errors"
	"fmt"
	"io"

	"promostore/bench/contest"
	"promostore/format"
)

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
	if err := t.touch(ctx, lo, n); err != nil {
		return err
	}
	samples, err := sampleOf(t.at, lo, n)
	if err != nil {
		return err
	}
	c := contest.Contest{
		Area: area, Name: "floor/" + contest.Count(t.rows), Unit: unit,
		What: fmt.Sprintf("lookup, %s records, against one random read of the mapping", contest.Count(t.rows)),
		Ours: ours(t.file, sampled(samples)).contestant("promostore", ourSetup),
		Peer: floor(t.at, sampled(samples)).contestant("floor", "x/exp/mmap, one byte at a random record"),
		Bar:  contest.AtMost(1.5), Rounds: floorRounds,
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

// touch brings the blocks of the n records from lo on into memory, and into
// both mappings, so that no lookup is the first to touch a page.
func (t *table) touch(ctx context.Context, lo, n int64) error {
	in := io.NewSectionReader(t.at, recordOff(uint64(lo)), n*format.RecordLen)
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		return err
	}
	var first [format.KeyLen]byte
	for i := lo; i < lo+n; i += format.RecordsPerBlock {
		if _, err := t.at.ReadAt(first[:], recordOff(uint64(i))); err != nil {
			return err
		}
		if _, found, err := t.file.Get(format.KeyAt(first[:])); !found || err != nil {
			return errors.Join(err, errAbsent)
		}
		if i/format.RecordsPerBlock%atOnce == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

package lookups

import (
	"context"
	"time"

	"promostore/bench/contest"
	"promostore/format"
	"promostore/reader"
)

// batchLen is ids a batch.
const batchLen = 1000

// batches looks up ids, batchLen at a time, which are made beforehand, outside
// the time of a turn. get is what does it.
func batches(name, setup string, next ids, warm func(context.Context) error, get func(keys []format.Key, records []format.Record, found []bool) error) contest.Contestant {
	keys := make([]format.Key, batchLen)
	records, found := make([]format.Record, batchLen), make([]bool, batchLen)
	return warmed(name, setup, warm, func(ctx context.Context) (s contest.Sample, err error) {
		for s.Took < turnTime {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			for i := range keys {
				_, keys[i] = next(0)
			}
			start := time.Now()
			if err := get(keys, records, found); err != nil {
				return s, err
			}
			s.Took += time.Since(start)
			for i := range found {
				if !found[i] || records[i].Key() != keys[i] {
					return s, errAbsent
				}
			}
			s.N += batchLen
		}
		return s, nil
	})
}

// oneByOne is what a batch is held against.
func oneByOne(f *reader.File) func(keys []format.Key, records []format.Record, found []bool) error {
	return func(keys []format.Key, records []format.Record, found []bool) error {
		for i, key := range keys {
			var err error
			if records[i], found[i], err = f.Get(key); err != nil {
				return err
			}
		}
		return nil
	}
}

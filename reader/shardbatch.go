package reader

import (
	"sync"

	"promostore/format"
)

// GetBatch looks up keys and sets records[i] and found[i] for keys[i], like
// File.GetBatch. It does not allocate. After an error, which is that of one of the
// keys, their content is undefined. If shards of keys are not owned, the error
// wraps ErrForeign and names the first of these keys.
func (g *Generation) GetBatch(keys []format.Key, records []format.Record, found []bool) error {
	if len(g.files) == 1 {
		return g.files[0].GetBatch(keys, records, found)
	}
	if len(g.owned) < len(g.files) {
		for _, k := range keys {
			if !g.Owns(k) {
				return foreign(k)
			}
		}
	}
	b := shardBatches.Get().(*shardBatch)
	defer shardBatches.Put(b)
	for len(keys) > 0 {
		n := min(len(keys), shardBatchLen)
		if err := b.get(g, keys[:n], records[:n], found[:n]); err != nil {
			return err
		}
		keys, records, found = keys[n:], records[n:], found[n:]
	}
	return nil
}

// shardBatchLen is the number of keys that are sorted by shard together: enough
// that most of 16 shards get more keys than File.GetBatch looks up together.
const shardBatchLen = 1024

// A shardBatch sorts keys by shard, because File.GetBatch is faster than File.Get.
type shardBatch struct {
	end   [format.MaxShards]uint16 // of each shard's keys in sorted
	place [shardBatchLen]uint16    // in sorted, of each key

	// Sorted by shard.
	sorted  [shardBatchLen]format.Key
	records [shardBatchLen]format.Record
	found   [shardBatchLen]bool
}

var shardBatches = sync.Pool{New: func() any { return new(shardBatch) }}

// get is GetBatch for at most shardBatchLen keys of owned shards.
func (b *shardBatch) get(g *Generation, keys []format.Key, records []format.Record, found []bool) error {
	s := g.Sharding()
	end := b.end[:s.Shards]
	clear(end)
	for _, k := range keys {
		end[s.ShardOf(k)]++
	}
	sum := uint16(0)
	for i, n := range end {
		end[i] = sum // the begin, which the next loop moves to the end
		sum += n
	}
	for i, k := range keys {
		at := &end[s.ShardOf(k)]
		b.place[i], b.sorted[*at] = *at, k
		*at++
	}
	from := uint16(0)
	for i, to := range end {
		if from < to {
			if err := g.files[i].GetBatch(b.sorted[from:to], b.records[from:to], b.found[from:to]); err != nil {
				return err
			}
		}
		from = to
	}
	for i, at := range b.place[:len(keys)] {
		records[i], found[i] = b.records[at], b.found[at]
	}
	return nil
}
